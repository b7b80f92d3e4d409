/** An empty variable counts as not set. */
export const isEmpty = (value: string | undefined) => value === undefined || value.trim() === '';

/**
 * Removes the empty variables of a process's environment, for libraries that read it by themselves: to the AWS SDK, an empty
 * AWS_REGION is a region, and hides the one of a profile.
 */
export function removeEmpty(env: NodeJS.ProcessEnv): void {
  for (const [name, value] of Object.entries(env)) if (isEmpty(value)) delete env[name];
}

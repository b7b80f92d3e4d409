import { awsErrorName } from '../aws/errors.ts';

/** For `.catch`: answers undefined for this error, and throws every other one again. */
export function ignore(expected: string) {
  return (error: unknown): undefined => {
    if (awsErrorName(error) !== expected) throw error;
  };
}

/** The same for a thing, certificate or policy that is not there. */
export function ignoreNotFound(error: unknown): undefined {
  return ignore('ResourceNotFoundException')(error);
}

/** As Promise.all, but when it throws, none of the calls is still under way: the caller can undo all of them. */
export async function together(calls: readonly (Promise<unknown> | undefined)[]): Promise<void> {
  const failed = (await Promise.allSettled(calls)).find((outcome) => outcome.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}

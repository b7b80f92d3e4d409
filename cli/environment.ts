import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const awsVariables = [
  'AWS_REGION',
  'AWS_DEFAULT_REGION',
  'AWS_PROFILE',
  'AWS_ACCESS_KEY_ID',
  'AWS_SECRET_ACCESS_KEY',
  'AWS_SESSION_TOKEN',
  'AWS_ENDPOINT_URL',
  'AWS_ENDPOINT_URL_IOT',
  'AWS_ENDPOINT_URL_DYNAMODB',
];

/** The SDK reads its variables itself and takes an empty one for a value; compose files and shells leave empty ones. */
export function tidyAwsVariables(env: NodeJS.ProcessEnv): void {
  for (const name of awsVariables) if (env[name]?.trim() === '') delete env[name];
  // the SDK says on each start which Node.js its next year's versions want; ours is pinned, and package.json says the same
  env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';
}

/** Whether somebody said which AWS to use. If nobody did, the local stand-in serves. */
export function awsIsConfigured(env: NodeJS.ProcessEnv): boolean {
  return (
    awsVariables.some((name) => env[name] !== undefined) ||
    env.AWS_WEB_IDENTITY_TOKEN_FILE !== undefined ||
    env.AWS_CONTAINER_CREDENTIALS_RELATIVE_URI !== undefined
  );
}

/** Where a running stand-in is to be found, as it wrote it into its data folder. */
export type LocalAws = { readonly httpUrl: string; readonly mqttPort: number; readonly rootCaFile: string };

export const localAwsFile = (dataDir: string): string => join(dataDir, 'aws-local', 'running.json');

/** The stand-in that `cvm up` or `cvm aws-local` keeps in this data folder; undefined when none was ever started. */
export function findLocalAws(dataDir: string): LocalAws | undefined {
  try {
    return JSON.parse(readFileSync(localAwsFile(dataDir), 'utf8')) as LocalAws;
  } catch {
    return undefined;
  }
}

/** Points the SDK's own variables at the stand-in, so that nothing below knows of it. */
export function useLocalAws(env: NodeJS.ProcessEnv, local: LocalAws): void {
  Object.assign(env, {
    AWS_ENDPOINT_URL_IOT: local.httpUrl,
    AWS_ENDPOINT_URL_DYNAMODB: local.httpUrl,
    AWS_REGION: 'us-east-1',
    AWS_ACCESS_KEY_ID: 'local',
    AWS_SECRET_ACCESS_KEY: 'local',
    CVM_ROOT_CA: env.CVM_ROOT_CA?.trim() || local.rootCaFile,
  });
}

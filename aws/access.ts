import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type AwsClientOptions, connectDynamoDb, connectIot } from './client.ts';
import type { AwsEndpoints } from './domains.ts';
import { endpointsOf } from './endpoints.ts';
import { areCredentialsAway, isWithoutCredentials, missingCredentials, noRegionCure } from './errors.ts';

/** The region, the credentials and the endpoints that this process would call AWS with. */
export type AwsAccess = {
  readonly region: string | undefined;
  /** absent when it cannot be known without credentials or without a region */
  readonly endpoints?: AwsEndpoints | undefined;
  readonly accessKeyId?: string | undefined;
  /** the account, where the source of the credentials names it: no call is made to ask */
  readonly account?: string | undefined;
  /** what a person must change before any call can be made: one sentence each */
  readonly missing: readonly string[];
  /** credentials are configured, and the service that gives them cannot be reached now */
  readonly away?: unknown;
};

/**
 * Looks for a region, credentials and endpoints as clients with these options would, without a call to IoT Core or DynamoDB.
 * @param waitMs when no outcome is known by then (the machine's network drops what is sent to the instance metadata
 * service, say), credentials are away if `named`, and missing otherwise
 * @param named whether the environment names a source of credentials
 */
export async function findAccess(
  options: AwsClientOptions,
  { waitMs, named }: { waitMs: number; named: boolean },
): Promise<AwsAccess> {
  const [iot, dynamoDb] = [connectIot(options), connectDynamoDb(options)];
  try {
    const late = sleep(waitMs, undefined, { ref: false }).then(() => Promise.reject(new Late(waitMs)));
    late.catch(() => {});
    const [region, credentials] = await Promise.allSettled([
      Promise.race([iot.config.region(), late]),
      Promise.race([iot.config.credentials(), late]),
    ]);
    const found = region.status === 'fulfilled' ? region.value : undefined;
    const missing = found === undefined ? [noRegionCure] : [];
    if (credentials.status === 'fulfilled') {
      const { accessKeyId, accountId: account } = credentials.value;
      const endpoints = await Promise.race([endpointsOf(iot, dynamoDb), late]).catch(() => undefined);
      return { region: found, endpoints, accessKeyId, account, missing };
    }
    const reason: unknown = credentials.reason;
    const none = reason instanceof Late ? !named : isWithoutCredentials(reason) && !areCredentialsAway(reason);
    if (!none) return { region: found, missing, away: reason };
    return {
      region: found,
      missing: [...missing, missingCredentials(reason, (reason as Error).message)],
    };
  } finally {
    iot.destroy();
    dynamoDb.destroy();
  }
}

/** The files of AWS profiles that this user may not read. The SDK takes them for files that are not there. */
export function unreadableProfileFiles(folder: string): string[] {
  return ['config', 'credentials']
    .map((name) => join(folder, name))
    .filter((file) => {
      try {
        accessSync(file, constants.R_OK);
        return false;
      } catch (error) {
        return (error as NodeJS.ErrnoException).code !== 'ENOENT';
      }
    })
    .map(
      (file) => `${file} cannot be read by this user (uid ${process.getuid?.()}): change its owner or its permissions`,
    );
}

class Late extends Error {
  constructor(waitMs: number) {
    super(`no source gave any within ${waitMs / 1000} s`);
  }
}

import { isAwsEndpoint } from '../aws/domains.ts';
import { errorText, systemCure } from '../runtime/errors.ts';
import type { Settings } from '../runtime/settings.ts';
import { cureOf } from '../runtime/upstream.ts';

/** How long the doctor waits for Redis, in milliseconds. */
export const redisMs = 3000;

/** What several checks want is read once. */
export function once<T>(read: () => Promise<T>): () => Promise<T> {
  let reading: Promise<T> | undefined;
  return () => {
    reading ??= read();
    return reading;
  };
}

export function problemOf(error: unknown, otherwise?: string): { problem: string; cure?: string } {
  const cure = cureOf(error) ?? systemCure(error) ?? otherwise;
  return { problem: errorText(error), ...(cure === undefined ? {} : { cure }) };
}

export function isStandInAt({ aws, awsEnvironment }: Settings): boolean {
  const iot = aws.endpoint ?? awsEnvironment.iotEndpoint;
  return iot !== undefined && !isAwsEndpoint(iot);
}

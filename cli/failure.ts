import { redisCure } from '../queue/redis.ts';
import { describeError, errorText, systemCure } from '../runtime/errors.ts';
import { SettingsError } from '../runtime/settings.ts';
import { cureOf } from '../runtime/upstream.ts';
import { UsageError } from './usage-error.ts';

/** What a person is told of an error that ended a command. `stack` where the error is not one that we know. */
export type Failure = { readonly lines: readonly string[]; readonly status: 1 | 2; readonly stack?: string };

export function describeFailure(error: unknown): Failure {
  if (error instanceof SettingsError || error instanceof UsageError) return { lines: [error.message], status: 2 };
  const lines = [errorText(error), ...curesOf(error)];
  const stack = describeError(error).stack;
  return { lines, status: 1, ...(stack === undefined ? {} : { stack }) };
}

function curesOf(error: unknown): string[] {
  const cure = cureOf(error) ?? (error instanceof Error ? (redisCure(error) ?? systemCure(error)) : undefined);
  return cure === undefined ? [] : [cure];
}

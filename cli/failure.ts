import { redisCure } from '../queue/redis-cure.ts';
import { describeError, errorText, systemCure } from '../runtime/errors.ts';
import { SettingsError } from '../runtime/settings-error.ts';
import { cureOf, UpstreamUnreachable } from '../runtime/upstream.ts';
import type { Told } from './failure-text.ts';
import { UsageError } from './usage-error.ts';

/** What a person is told of an error that ended a command. `stack` where the error is not one that we know. */
export type Failure = Told & { readonly status: 1 | 2; readonly stack?: string };

export function describeFailure(error: unknown): Failure {
  if (error instanceof SettingsError) return { cause: error.message, cure: settingsCure, status: 2 };
  if (error instanceof UsageError) return { cause: error.message, status: 2 };
  const stack = describeError(error).stack;
  return { cause: errorText(error), cure: cureFor(error), status: 1, ...(stack === undefined ? {} : { stack }) };
}

const settingsCure = 'correct this in the environment or in .env; docs/settings.md has every setting';

function cureFor(error: unknown): string | undefined {
  const known = cureOf(error) ?? (error instanceof Error ? (redisCure(error) ?? systemCure(error)) : undefined);
  return known ?? (error instanceof UpstreamUnreachable ? awayCure : undefined);
}

/** Whether AWS, the network or a setting is the reason, only a person can find out. */
const awayCure =
  'look whether this machine reaches AWS: its network, its proxy (HTTPS_PROXY), an AWS_ENDPOINT_URL that names another place; a local stand-in must run. "cvm doctor" looks at each. Then repeat the command';

import { type DestinationStream, type Logger, pino } from 'pino';
import { describeError } from './errors.ts';
import { logTo } from './log-destination.ts';

export type Log = Logger;

const standardError = 2;

/** Fields of these names are never printed, down to the third level. A second defence: the first is that code logs
 * ids and never payloads. */
const secrets = ['token', 'password', 'psk', 'privateKey', 'private_key', 'PrivateKey', 'keyPair', 'payload', 'secret'];

/**
 * A structured logger. Lines are JSON on standard error unless another destination is given, so that standard output
 * stays free for what a command prints.
 */
export function createLog(level: string, destination: DestinationStream = logTo(standardError)): Log {
  const paths = secrets.flatMap((key) => [key, `*.${key}`, `*.*.${key}`]);
  return pino(
    { level, redact: { paths, censor: '[redacted]' }, base: null, serializers: { err: loggedError } },
    destination,
  );
}

/** An error that has nothing but a message is logged as a text. */
function loggedError(error: unknown): unknown {
  const described = describeError(error);
  return Object.keys(described).length === 1 ? described.message : described;
}

import { isatty } from 'node:tty';
import { type DestinationStream, type Logger, pino, stdTimeFunctions } from 'pino';
import { describeError } from './errors.ts';
import { logTo } from './log-destination.ts';
import { prettyLog } from './log-pretty.ts';

export type Log = Logger;

const standardError = 2;

/** Fields of these names are never printed, down to the third level. A second defence: the first is that code logs
 * ids and never payloads. */
const secrets = ['token', 'password', 'psk', 'privateKey', 'private_key', 'PrivateKey', 'keyPair', 'payload', 'secret'];

/** How lines look. `undefined`: pretty at a terminal, JSON elsewhere. */
export type LogFormat = 'pretty' | 'json' | undefined;

/**
 * Lines in this format on standard error.
 * @param noColor the variable of https://no-color.org: no colours where it has a value
 */
export function standardErrorLog(format: LogFormat, noColor?: string): DestinationStream {
  const isTerminal = isatty(standardError);
  const isPretty = format === 'pretty' || (format === undefined && isTerminal);
  const destination = logTo(standardError);
  return isPretty ? prettyLog(destination, { colours: isTerminal && !noColor }) : destination;
}

/**
 * A structured logger. Lines are JSON on standard error unless another destination is given, so that standard output
 * stays free for what a command prints.
 */
export function createLog(level: string, destination: DestinationStream = logTo(standardError)): Log {
  const paths = secrets.flatMap((key) => [key, `*.${key}`, `*.*.${key}`]);
  return pino(
    {
      level,
      redact: { paths, censor: '[redacted]' },
      base: null,
      serializers: { err: loggedError },
      timestamp: stdTimeFunctions.isoTime,
    },
    destination,
  );
}

/** An error that has nothing but a message is logged as a text. */
function loggedError(error: unknown): unknown {
  const described = describeError(error);
  return Object.keys(described).length === 1 ? described.message : described;
}

import { type DestinationStream, type Logger, pino } from 'pino';

export type Log = Logger;

/** Fields of these names are never printed, down to the third level. A second defence: the first is that code logs
 * ids and never payloads. */
const secrets = ['token', 'password', 'psk', 'privateKey', 'private_key', 'PrivateKey', 'keyPair', 'payload', 'secret'];

/**
 * A structured logger. Lines are JSON on standard error unless another destination is given, so that standard output
 * stays free for what a command prints.
 */
export function createLog(level: string, destination: DestinationStream = pino.destination(2)): Log {
  const paths = secrets.flatMap((key) => [key, `*.${key}`, `*.*.${key}`]);
  return pino(
    { level, redact: { paths, censor: '[redacted]' }, base: null, serializers: { err: describeError } },
    destination,
  );
}

/**
 * Name, message, code, cure, cause and stack of an error, and nothing else of it: clients and servers put requests, responses and
 * sockets into their errors, and those hold secrets. Some libraries throw plain objects that look like an error.
 */
function describeError(error: unknown): unknown {
  if (typeof error !== 'object' || error === null) return String(error);
  const { name, message, code, cure, cause, stack } = error as Partial<Error> & { code?: unknown; cure?: unknown };
  if (typeof message !== 'string') return `${error.constructor?.name ?? 'object'} without a message`;
  return {
    name,
    message,
    ...(code === undefined ? {} : { code }),
    ...(typeof cure === 'string' ? { cure } : {}),
    ...(cause === undefined ? {} : { cause: describeError(cause) }),
    stack,
  };
}

import { type DestinationStream, type Logger, pino } from 'pino';

export type Log = Logger;

/** The one list of what may never be printed. Secrets stop at the door: log ids, never payloads. */
const secrets = ['token', 'password', 'psk', 'privateKey', 'private_key', 'PrivateKey', 'keyPair', 'payload', 'secret'];

/**
 * A structured logger. Lines are JSON on standard error unless another destination is given, so that standard output
 * stays free for what a command prints.
 */
export function createLog(level: string, destination: DestinationStream = pino.destination(2)): Log {
  const paths = secrets.flatMap((key) => [key, `*.${key}`, `*.*.${key}`]);
  return pino(
    { level, redact: { paths, censor: '[redacted]' }, base: null, serializers: { err: plainError } },
    destination,
  );
}

/**
 * What a log line may say of an error: name, message, code. Errors of clients and servers carry requests, responses
 * and sockets as properties, and those carry what must not be printed.
 */
function plainError(error: unknown): unknown {
  if (!(error instanceof Error)) return String(error);
  const code = (error as { code?: unknown }).code;
  const cause = error.cause === undefined ? {} : { cause: plainError(error.cause) };
  return {
    name: error.name,
    message: error.message,
    ...(code === undefined ? {} : { code }),
    ...cause,
    stack: error.stack,
  };
}

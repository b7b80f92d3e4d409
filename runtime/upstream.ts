/**
 * How a call to a service that we depend on ends when that service certainly did nothing. After any other error the call
 * may have taken effect, and only its answer is lost.
 */

/** The service said "too fast". Safe to repeat, later. */
export class UpstreamThrottled extends Error {
  constructor(operation: string) {
    super(`${operation}: throttled`);
    this.name = 'UpstreamThrottled';
  }
}

/** The service could not be asked. Safe to repeat, later. `cure`: what to do where it stays so. */
export class UpstreamUnreachable extends Error {
  readonly cure: string | undefined;
  constructor(operation: string, cause: Error, cure?: string) {
    super(`${operation}: ${cause.message}`, { cause });
    this.name = 'UpstreamUnreachable';
    this.cure = cure;
  }
}

/** The service will refuse this call until a person changes something. `cure` tells the operator what. */
export class UpstreamRefused extends Error {
  readonly cure: string;
  /** the service's own text */
  readonly reason: string;
  constructor(operation: string, cause: Error, cure: string) {
    super(`${operation}: ${cause.name}: ${cause.message}`, { cause });
    this.name = 'UpstreamRefused';
    this.cure = cure;
    this.reason = cause.message;
  }
}

/** What a person should do about an error of a call; undefined where it may pass by itself. */
export function cureOf(error: unknown): string | undefined {
  const { cure } = error instanceof Error ? (error as Error & { cure?: unknown }) : { cure: undefined };
  return typeof cure === 'string' ? cure : undefined;
}

const operations = new WeakMap<Error, string>();

/** Notes which call an error is of, whatever kind of error it is. @returns the same error */
export function ofOperation(operation: string, error: unknown): unknown {
  if (error instanceof Error) operations.set(error, operation);
  return error;
}

/** The call that failed, and the name that the service gives its error, where they are known. Names only: a text may tell more than it should. */
export function failedCall(error: unknown): { readonly operation?: string; readonly error?: string } {
  if (!(error instanceof Error)) return {};
  const operation = operations.get(error);
  const origin = error instanceof UpstreamRefused || error instanceof UpstreamUnreachable ? error.cause : error;
  const name = origin instanceof Error && !(error instanceof UpstreamThrottled) ? origin.name : undefined;
  return {
    ...(operation === undefined ? {} : { operation }),
    ...(name === undefined || name === 'Error' ? {} : { error: name }),
  };
}

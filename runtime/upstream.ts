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

/** No connection to the service could be made. Safe to repeat, later. */
export class UpstreamUnreachable extends Error {
  constructor(operation: string, cause: Error) {
    super(`${operation}: ${cause.message}`, { cause });
    this.name = 'UpstreamUnreachable';
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

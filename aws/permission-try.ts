import { errorText } from '../runtime/errors.ts';
import { UpstreamRefused, UpstreamThrottled, UpstreamUnreachable } from '../runtime/upstream.ts';
import { awsErrorName, isDenied } from './errors.ts';

/** An action of IAM, and whether the credentials of this process may use it. */
export type PermissionTry = {
  /** `iot:CreateThing` */
  readonly action: string;
  /** `untried`: no call tells without changing something. `unclear`: AWS gave no answer that tells */
  readonly outcome: 'allowed' | 'denied' | 'untried' | 'unclear';
  /** AWS's text, or the reason why it was not tried */
  readonly why?: string;
};

/** How an action is tried: a call that cannot change anything, or why there is none. */
export type Try = (() => Promise<unknown>) | { readonly untried: string };

/**
 * AWS looks at permissions first: any other refusal than that for lack of one (no such thing, a condition that does not hold, input that is
 * not valid) says that the action is allowed.
 */
export async function tryPermission(action: string, attempt: Try): Promise<PermissionTry> {
  if (typeof attempt !== 'function') return { action, outcome: 'untried', why: attempt.untried };
  try {
    await attempt();
    return { action, outcome: 'allowed' };
  } catch (error) {
    const why = errorText(error);
    if (isDenied(error)) return { action, outcome: 'denied', why };
    return hasAnswered(error) ? { action, outcome: 'allowed' } : { action, outcome: 'unclear', why };
  }
}

/** Faults of AWS (5xx) tell nothing. */
function hasAnswered(error: unknown): boolean {
  if (error instanceof UpstreamThrottled || error instanceof UpstreamUnreachable) return false;
  const origin = error instanceof UpstreamRefused ? error.cause : error;
  const status = (origin as { $metadata?: { httpStatusCode?: number } } | undefined)?.$metadata?.httpStatusCode;
  return status !== undefined && status < 500 && !doNotTell.has(awsErrorName(error));
}

/** Refusals of the credentials, of the clock or of the endpoint. */
const doNotTell = new Set([
  'UnrecognizedClientException',
  'InvalidClientTokenId',
  'InvalidSignatureException',
  'SignatureDoesNotMatch',
  'ExpiredTokenException',
  'ExpiredToken',
  'RequestTimeTooSkewed',
  'UnknownOperationException',
]);

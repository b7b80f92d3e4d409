import { UpstreamRefused, UpstreamThrottled, UpstreamUnreachable } from '../runtime/upstream.ts';

/** Errors are told apart by name, never by their text. */
export function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : '';
}

export function unless(expected: string) {
  return (error: unknown): undefined => {
    if (nameOf(error) !== expected) throw error;
  };
}

export function gone(error: unknown): undefined {
  return unless('ResourceNotFoundException')(error);
}

/**
 * What a person must change, by the error's name.
 * @see https://docs.aws.amazon.com/iot/latest/apireference/CommonErrors.html
 */
const cures: Readonly<Record<string, string>> = {
  AccessDeniedException: "give the worker's IAM identity the permission that the message names",
  UnauthorizedException: "give the worker's IAM identity the permission that the message names",
  UnrecognizedClientException: "the worker's AWS credentials are not valid; renew them",
  InvalidSignatureException: "the worker's AWS credentials are not valid, or its clock is wrong",
  ExpiredTokenException: "the worker's AWS credentials have expired; renew them",
  InvalidRequestException:
    'AWS IoT takes the request for invalid; correct what the message names: a deprecated thing type, say, or a certificate or thing that something else is attached to',
  LimitExceededException: 'a limit of the account is reached; remove what is not needed, or ask AWS to raise it',
  ServiceQuotaExceededException: 'a quota of the account is reached; remove what is not needed, or ask AWS to raise it',
  MalformedPolicyException: 'the IoT policy is not valid; correct it',
  ResourceNotFoundException:
    'the policy, thing type or thing group that the row or CVM_POLICY_NAME names is not there; create it (cvm aws setup makes the policy) or correct the name',
};

/** No connection was made: what fails later may have arrived. */
const neverArrived = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH']);

/** The one place where AWS's errors become ours. */
export async function translated<T>(operation: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    const name = nameOf(error);
    if (/^(Throttling|ThrottlingException|TooManyRequestsException)$/.test(name))
      throw new UpstreamThrottled(operation);
    if (error instanceof Error && neverArrived.has(String((error as NodeJS.ErrnoException).code)))
      throw new UpstreamUnreachable(operation, error);
    const cure = cures[name];
    if (cure !== undefined && error instanceof Error) throw new UpstreamRefused(operation, error, cure);
    throw error;
  }
}

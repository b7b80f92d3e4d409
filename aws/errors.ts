import { UpstreamRefused, UpstreamThrottled, UpstreamUnreachable } from '../runtime/upstream.ts';
import { ForeignAnswer } from './foreign-answer.ts';
import { type AwsOperation, permissionFor, siteIndexName } from './iam-policy.ts';
import { ProxyError } from './proxy-error.ts';
import { RoleAliasError } from './role-alias.ts';

/** Where the calls go. Without a region no call can be made. */
export type AwsPlace = {
  readonly region: string | undefined;
  readonly table: string;
  /** by what a person names the table; CVM_TABLE unless it says otherwise */
  readonly tableOption?: string | undefined;
};

/**
 * AWS's name for an error, also when a gate has mapped it to UpstreamRefused; '' for a value that is no error. Errors are told apart by
 * their names, never by their texts.
 */
export function awsErrorName(error: unknown): string {
  const origin = error instanceof UpstreamRefused ? error.cause : error;
  return origin instanceof Error ? origin.name : '';
}

/** The one place where AWS's errors become ours. @returns the same error where AWS may have acted, or where it is an outcome */
export function upstreamError(operation: AwsOperation, error: unknown, place: AwsPlace): unknown {
  if (!(error instanceof Error)) return error;
  if (throttlingNames.has(error.name) || isCancelledByThrottling(error)) return new UpstreamThrottled(operation);
  if (error instanceof ProxyError) {
    const { lasts, cure } = error;
    return lasts ? new UpstreamRefused(operation, error, cure) : new UpstreamUnreachable(operation, error, cure);
  }
  if (error instanceof ForeignAnswer) return error.didNothing ? ofForeign(operation, error) : error;
  const code = String((error as NodeJS.ErrnoException).code);
  if (unreachableCodes.has(code)) return new UpstreamUnreachable(operation, error, unresolvedCure(code, place));
  const cure =
    place.region !== undefined && isWithoutCredentials(error)
      ? missingCredentials(error)
      : cureOf(operation, error.name, code, place);
  return cure === undefined ? ofWhom(operation, error) : new UpstreamRefused(operation, error, cure);
}

/** The same error. AWS's own texts of its faults ("Internal server error") say neither whose they are nor of which call. */
function ofWhom(operation: AwsOperation, error: Error & { $fault?: unknown }): Error {
  const said = `AWS could not carry out ${operation} (${error.name})`;
  return error.$fault !== 'server' || error.message.startsWith(said)
    ? error
    : Object.assign(error, { message: `${said}: ${error.message}` });
}

function ofForeign(operation: AwsOperation, error: ForeignAnswer): UpstreamThrottled | UpstreamRefused {
  return error.$metadata.httpStatusCode === 429
    ? new UpstreamThrottled(operation)
    : new UpstreamRefused(operation, error, error.cure);
}

/** @see https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Programming.Errors.html */
const throttlingNames = new Set([
  'Throttling',
  'ThrottlingException',
  'ThrottledException',
  'TooManyRequestsException',
  'RequestLimitExceeded',
  'ProvisionedThroughputExceededException',
]);

/** A transaction says action by action why it was cancelled. */
function isCancelledByThrottling(error: Error & { CancellationReasons?: readonly { Code?: string }[] }): boolean {
  const { CancellationReasons: reasons = [] } = error;
  return reasons.some(({ Code }) => Code === 'ThrottlingError' || Code === 'ProvisionedThroughputExceeded');
}

/** No connection was made. After any other failure of the network, a request may have arrived. */
const unreachableCodes = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH']);

/** Whether the internet is away or the name is of no region, only a person can tell. */
function unresolvedCure(code: string, { region }: AwsPlace): string | undefined {
  if (code !== 'ENOTFOUND' && code !== 'EAI_AGAIN') return undefined;
  return `the address of AWS cannot be resolved: mend the network or the DNS of this machine, or correct the region "${region}" (AWS_REGION) or the AWS_ENDPOINT_URL_…; where a proxy leads to AWS, name it in HTTPS_PROXY`;
}

/** Whether a refusal is one of the whole account, table or machine, and not of the row of one device. */
export function concernsAll(operation: AwsOperation, { cause }: UpstreamRefused): boolean {
  return !operation.startsWith('iot:') || !(cause instanceof Error && iotCures.has(cause.name));
}

type Cure = (operation: AwsOperation, place: Omit<AwsPlace, 'region'> & { readonly region: string }) => string;
type Cures = ReadonlyMap<string, Cure>;

function cureOf(operation: AwsOperation, name: string, code: string, place: AwsPlace): string | undefined {
  const { region } = place;
  // the SDK's error for it has no name of its own
  if (region === undefined) return noRegionCure;
  const ofService = curesOfService[operation.split(':')[0] ?? ''];
  const cure = ofService?.get(name) ?? commonCures.get(name) ?? tlsCures.get(code);
  return cure?.(operation, { ...place, region });
}

export const noRegionCure =
  'no AWS region is set: set AWS_REGION (AWS_DEFAULT_REGION is not read), or give the AWS profile a region. To try the gateway without AWS: cvm up --local-aws, or in compose COMPOSE_PROFILES=local-aws. In compose, commands about the table run in the container of the worker';

const noCredentialsCure =
  'name a profile (AWS_PROFILE), log in with SSO ("aws sso login"), run where an instance role or a container role gives them (in a container on EC2, the instance must allow two hops to its metadata service), or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY. Why a profile gives none, such as one with a credential_process, "aws sts get-caller-identity" says. To try the gateway without AWS: cvm up --local-aws, or in compose COMPOSE_PROFILES=local-aws. In compose, commands about the table run in the container of the worker';

/** Names of the SDK's errors that say that no source gives credentials, or that those of a source have ended. */
const withoutCredentials: readonly string[] = ['CredentialsProviderError', 'TokenProviderError'];

export const isWithoutCredentials = (error: unknown): boolean =>
  error instanceof Error && withoutCredentials.includes(error.name);

/** A source that a person configured, and that may give credentials in a moment. */
export const areCredentialsAway = (error: unknown): boolean => error instanceof RoleAliasError && !error.lasts;

/** That there are no credentials, and the cure; a role alias knows more of it than the chain. @param said the text of the error */
export function missingCredentials(error: unknown, said?: string): string {
  const cure = error instanceof RoleAliasError ? error.cure : noCredentialsCure;
  return `there are no AWS credentials${said === undefined ? '' : ` (${said})`}: ${cure}`;
}

function curesBy(...entries: readonly (readonly [names: string, cure: Cure])[]): Cures {
  return new Map(entries.flatMap(([names, cure]) => names.split(' ').map((name): [string, Cure] => [name, cure])));
}

const permission: Cure = (operation) =>
  `allow ${permissionFor(operation)} to the IAM identity of this process, as the message says; "cvm aws policy" prints all that it needs${
    operation.startsWith('dynamodb:')
      ? '. Where the message names a KMS key: enable the key of the table, and allow kms:Decrypt with it as well'
      : ''
  }`;

/** Names of AWS's errors for a permission that is missing. */
const denials = 'AccessDenied AccessDeniedException UnauthorizedException NotAuthorized ForbiddenException';

export const isDenied = (error: unknown): boolean => denials.split(' ').includes(awsErrorName(error));

/** What is at the endpoint does not offer the operation: it is not AWS, but DynamoDB Local, say. */
export const isUnknownOperation = (error: unknown): boolean => awsErrorName(error) === 'UnknownOperationException';

/** @see https://docs.aws.amazon.com/iot/latest/apireference/CommonErrors.html */
const commonCures = curesBy(
  [denials, permission],
  [
    'UnrecognizedClientException InvalidClientTokenId MissingAuthenticationToken MissingAuthenticationTokenException',
    (_operation, { region }) => `the AWS credentials are not valid in ${region}: correct or renew them`,
  ],
  [
    'InvalidSignatureException SignatureDoesNotMatch IncompleteSignature IncompleteSignatureException',
    () => 'the AWS secret key does not belong to its key id, or the clock of this machine is wrong: correct either',
  ],
  [
    'ExpiredToken ExpiredTokenException',
    () => 'the AWS credentials have expired: renew them (with SSO: "aws sso login")',
  ],
  [
    'RequestTimeTooSkewed RequestExpired RequestInTheFuture',
    () => 'the clock of this machine is wrong: set it, best by NTP',
  ],
  [
    'OptInRequired SubscriptionRequiredException',
    (_operation, { region }) =>
      `the AWS account may not use this service in ${region}: complete its registration, enable the region for the account, or correct AWS_REGION`,
  ],
  [
    'InvalidAction UnknownOperationException',
    (operation) =>
      `the endpoint does not know ${operation}: correct AWS_ENDPOINT_URL_IOT, AWS_ENDPOINT_URL_DYNAMODB or AWS_REGION`,
  ],
  [
    'LimitExceededException ServiceQuotaExceededException',
    () => 'a limit of the AWS account is reached: remove resources that are not needed, or ask AWS to raise it',
  ],
);

const dynamoDbCures = curesBy(
  [
    'ResourceNotFoundException TableNotFoundException',
    (_operation, { region, table, tableOption }) =>
      tableOption === undefined
        ? `there is no table "${table}" in ${region}: make it with "cvm aws setup" if it never existed; if it was deleted, restore it (docs/restoring.md), since a new one knows no device; or correct CVM_TABLE or AWS_REGION`
        : `there is no table "${table}" in ${region}: correct ${tableOption} or AWS_REGION`,
  ],
  [
    'ValidationException',
    (operation, { region, table }) =>
      operation === 'dynamodb:UpdateTimeToLive'
        ? 'AWS changes the time to live of a table once an hour at most, and for one attribute only: wait an hour, and run "cvm aws setup" again'
        : operation === 'dynamodb:Query'
          ? `the table "${table}" in ${region} has no index "${siteIndexName}", which a gateway with CVM_SITE needs, or AWS is still building it: run "cvm aws setup --yes", which adds it and waits`
          : `the table "${table}" in ${region} is not an association table, as far as its keys show: it needs the partition key "productId" (a string) and no sort key ("cvm aws setup" compares it). Name another table in CVM_TABLE, and create it with "cvm aws setup"`,
  ],
);

const iotCures = curesBy(
  [
    'InvalidRequestException ValidationError',
    () =>
      'AWS IoT takes the request for invalid: correct what the message names, for example a deprecated thing type, or a certificate or thing that something else is attached to',
  ],
  ['MalformedPolicyException', () => 'the IoT policy is not valid: correct it'],
  [
    'ResourceNotFoundException',
    (_operation, { region }) =>
      `the policy, thing type or thing group that the device's row or CVM_POLICY_NAME names is not in ${region}: create it ("cvm aws setup" makes the policy), or correct the name. Where somebody deleted the certificate in AWS instead, nothing is to be done: the device's next request gets a new one`,
  ],
);

const curesOfService: Readonly<Record<string, Cures>> = { iot: iotCures, dynamodb: dynamoDbCures };

const untrusted: Cure = () =>
  'the TLS certificate of the AWS endpoint is not trusted here: if a proxy inspects TLS, name its CA certificate in NODE_EXTRA_CA_CERTS';

/** By the error's code: no request was sent. @see https://nodejs.org/api/tls.html#x509-certificate-error-codes */
const tlsCures = curesBy(
  [
    'CERT_HAS_EXPIRED CERT_NOT_YET_VALID',
    () => 'the TLS certificate of the AWS endpoint is not valid at the time of this machine: set its clock',
  ],
  [
    'SELF_SIGNED_CERT_IN_CHAIN DEPTH_ZERO_SELF_SIGNED_CERT UNABLE_TO_GET_ISSUER_CERT_LOCALLY UNABLE_TO_VERIFY_LEAF_SIGNATURE',
    untrusted,
  ],
);

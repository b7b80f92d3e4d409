/** HTTP status by error name. @see https://docs.aws.amazon.com/iot/latest/apireference/CommonErrors.html and each operation's page */
const statuses = {
  CertificateStateException: 406,
  ConflictingResourceUpdateException: 409,
  DeleteConflictException: 409,
  IndexNotReadyException: 400,
  InternalFailureException: 500,
  InvalidRequestException: 400,
  LimitExceededException: 410,
  MalformedPolicyException: 400,
  ResourceAlreadyExistsException: 409,
  ResourceNotFoundException: 404,
  ResourceRegistrationFailureException: 400,
  ServiceUnavailableException: 503,
  ThrottlingException: 400,
  VersionConflictException: 409,
  VersionsLimitExceededException: 409,
} as const;

export type ErrorName = keyof typeof statuses;

/** An error answer of AWS. */
export class ApiError extends Error {
  readonly status: number;
  constructor(name: string, message: string, status: number = statuses[name as ErrorName] ?? 400) {
    super(message);
    this.name = name;
    this.status = status;
  }
}

export function refuse(name: ErrorName, message: string): never {
  throw new ApiError(name, message);
}

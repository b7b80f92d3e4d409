import { describe, expect, it } from 'vitest';
import { withCallQuota } from '../../aws/call-quota.ts';
import { awsErrorName } from '../../aws/errors.ts';
import { type AwsGate, createAwsGate } from '../../aws/gate.ts';
import type { AwsOperation } from '../../aws/iam-policy.ts';
import { UpstreamRefused, UpstreamThrottled, UpstreamUnreachable } from '../../runtime/upstream.ts';

const gate = createAwsGate({ table: 'plant-devices', region: async () => 'eu-west-1' });

const failing = (name: string, code?: string) => Object.assign(new Error('as AWS says'), { name, code });

/** What a call through the gate ends with when the SDK throws this error. */
const outcomeOf = (operation: AwsOperation, error: unknown, through: AwsGate = gate) =>
  through.call(operation, () => Promise.reject(error)).catch((mapped: unknown) => mapped);

describe('the gate to AWS', () => {
  it('gives back what the call gives back, and sends once', async () => {
    let sent = 0;
    const answer = await gate.call('iot:CreateThing', async () => {
      sent++;
      return 'answer';
    });
    expect([answer, sent]).toEqual(['answer', 1]);
  });

  it.each(['ThrottlingException', 'ProvisionedThroughputExceededException', 'RequestLimitExceeded'])(
    'says throttled for %s, with the operation',
    async (name) => {
      const error = await outcomeOf('dynamodb:UpdateItem', failing(name));
      expect(error).toBeInstanceOf(UpstreamThrottled);
      expect(error).toMatchObject({ message: expect.stringContaining('dynamodb:UpdateItem') });
    },
  );

  it.each(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH'])(
    'says unreachable for %s: no request was sent',
    async (code) => {
      expect(await outcomeOf('iot:AttachPolicy', failing('Error', code))).toBeInstanceOf(UpstreamUnreachable);
    },
  );

  it.each([
    ['ConditionalCheckFailedException', undefined],
    ['TransactionCanceledException', undefined],
    ['ResourceAlreadyExistsException', undefined],
    ['InternalServerError', undefined],
    ['TimeoutError', undefined],
    ['Error', 'ECONNRESET'],
    ['Error', 'EPIPE'],
  ])('passes %s (%s) unchanged: it is an outcome, or the call may have taken effect', async (name, code) => {
    const error = failing(name, code);
    expect(await outcomeOf('dynamodb:PutItem', error)).toBe(error);
  });

  it('says of which call a fault of AWS is, in the same error', async () => {
    const error = Object.assign(failing('InternalServerError'), { $fault: 'server' });
    expect(await outcomeOf('dynamodb:PutItem', error)).toBe(error);
    expect(error.message).toBe('AWS could not carry out dynamodb:PutItem (InternalServerError): as AWS says');
  });

  it('passes a value that is no error unchanged', async () => {
    expect(await outcomeOf('dynamodb:PutItem', 'thrown')).toBe('thrown');
  });

  it.each<[AwsOperation, string, RegExp]>([
    // names of the page "Common Errors", which AWS IoT's API reference and those of other services share
    ['iot:CreateThing', 'NotAuthorized', /allow iot:CreateThing .*cvm aws policy/],
    ['iot:CreateThing', 'ForbiddenException', /allow iot:CreateThing /],
    ['iot:CreateThing', 'MissingAuthenticationToken', /credentials are not valid in eu-west-1/],
    ['iot:CreateThing', 'IncompleteSignature', /secret key .* or the clock/],
    ['iot:CreateThing', 'OptInRequired', /may not use this service in eu-west-1/],
    ['dynamodb:GetItem', 'SubscriptionRequiredException', /may not use this service in eu-west-1/],
    ['iot:CreateThing', 'ValidationError', /correct what the message names/],
    ['iot:CreateThing', 'InvalidAction', /does not know iot:CreateThing: correct AWS_ENDPOINT_URL_IOT/],
    ['dynamodb:GetItem', 'UnknownOperationException', /does not know dynamodb:GetItem: correct AWS_ENDPOINT_URL_IOT/],
    ['dynamodb:UpdateItem', 'AccessDeniedException', /allow dynamodb:UpdateItem .*cvm aws policy/],
    ['iot:CreateThing', 'UnauthorizedException', /allow iot:CreateThing .*cvm aws policy/],
    ['dynamodb:GetItem', 'UnrecognizedClientException', /credentials are not valid in eu-west-1/],
    ['dynamodb:GetItem', 'InvalidSignatureException', /secret key.*clock/],
    ['iot:CreateThing', 'SignatureDoesNotMatch', /secret key.*clock/],
    ['dynamodb:GetItem', 'ExpiredTokenException', /expired: renew/],
    ['iot:CreateThing', 'ExpiredToken', /expired: renew/],
    ['iot:CreateThing', 'RequestTimeTooSkewed', /clock/],
    ['iot:CreateThing', 'RequestExpired', /clock/],
    ['dynamodb:GetItem', 'ResourceNotFoundException', /table "plant-devices" in eu-west-1.*cvm aws setup/],
    ['dynamodb:GetItem', 'ValidationException', /"plant-devices" in eu-west-1.*"productId"/],
    ['iot:AttachPolicy', 'ResourceNotFoundException', /policy, thing type or thing group.*eu-west-1/],
    ['iot:CreateThing', 'LimitExceededException', /limit/],
    ['dynamodb:GetItem', 'AccessDeniedException', /names a KMS key.*kms:Decrypt/],
  ])('says that %s is refused for %s, with the cure', async (operation, name, cure) => {
    const error = await outcomeOf(operation, failing(name));
    expect(error).toBeInstanceOf(UpstreamRefused);
    expect(error).toMatchObject({ cure: expect.stringMatching(cure), message: expect.stringContaining(operation) });
    expect(awsErrorName(error)).toBe(name);
  });

  it.each([
    ['CERT_NOT_YET_VALID', /clock/],
    ['SELF_SIGNED_CERT_IN_CHAIN', /NODE_EXTRA_CA_CERTS/],
  ])('says that a TLS certificate is refused for %s, with the cure', async (code, cure) => {
    expect(await outcomeOf('iot:CreateThing', failing('Error', code))).toMatchObject({
      name: 'UpstreamRefused',
      cure: expect.stringMatching(cure),
    });
  });

  it('takes credentials that cannot be had for a short failure at first, and for a lasting one after a minute without any', async () => {
    let now = 0;
    const patient = createAwsGate({ table: 't', region: async () => 'eu-west-1', elapsed: () => now });
    const outcomeAt = async (ms: number, error: unknown = failing('CredentialsProviderError')) => {
      now = ms;
      return outcomeOf('dynamodb:GetItem', error, patient);
    };
    const cure = expect.stringMatching(/AWS_PROFILE.*sso.*instance role.*container role.*--local-aws/);
    expect(await outcomeAt(0)).toBeInstanceOf(UpstreamUnreachable);
    expect(await outcomeAt(59_000)).toMatchObject({ name: 'UpstreamUnreachable', cure });
    expect(await outcomeAt(60_000)).toMatchObject({ name: 'UpstreamRefused', cure });
    // a call that had credentials
    await patient.call('dynamodb:GetItem', async () => 'answer');
    expect(await outcomeAt(61_000)).toBeInstanceOf(UpstreamUnreachable);
    expect(await outcomeAt(200_000, failing('AccessDeniedException'))).toBeInstanceOf(UpstreamRefused);
    expect(await outcomeAt(201_000)).toBeInstanceOf(UpstreamUnreachable);
  });

  it('says that the address cannot be resolved, and that network, region and proxy may be wrong', async () => {
    expect(await outcomeOf('iot:CreateThing', failing('Error', 'ENOTFOUND'))).toMatchObject({
      name: 'UpstreamUnreachable',
      cure: expect.stringMatching(/DNS.*"eu-west-1".*HTTPS_PROXY/),
    });
  });

  it('says that the region is missing, where the SDK knows none', async () => {
    const nowhere = createAwsGate({ table: 't', region: () => Promise.reject(new Error('Region is missing')) });
    expect(await outcomeOf('dynamodb:GetItem', new Error('Region is missing'), nowhere)).toMatchObject({
      name: 'UpstreamRefused',
      cure: expect.stringContaining('AWS_REGION'),
    });
  });
});

describe('a quota of calls', () => {
  it('spaces the calls of each operation evenly, and lets another operation through meanwhile', async () => {
    let now = 0;
    const started: string[] = [];
    const clock = {
      now: () => now,
      sleep: async (ms: number) => {
        now += ms;
      },
    };
    const slow = withCallQuota(gate, 2, clock);
    for (const operation of ['iot:DescribeCertificate', 'iot:ListCertificates', 'iot:DescribeCertificate'] as const)
      await slow.call(operation, async () => started.push(`${operation} ${now}`));
    await slow.call('iot:DescribeCertificate', async () => started.push(`last ${now}`));
    expect(started).toEqual([
      'iot:DescribeCertificate 0',
      'iot:ListCertificates 0',
      'iot:DescribeCertificate 500',
      'last 1000',
    ]);
  });

  it('spaces calls that come at once, too', async () => {
    const waits: number[] = [];
    const slow = withCallQuota(gate, 4, { now: () => 0, sleep: async (ms) => waits.push(ms) });
    await Promise.all([1, 2, 3].map(() => slow.call('iot:DeleteThing', async () => {})));
    expect(waits).toEqual([250, 500]);
  });

  it('does not save up calls while none comes', async () => {
    let now = 0;
    const waits: number[] = [];
    const slow = withCallQuota(gate, 1, { now: () => now, sleep: async (ms) => waits.push(ms) });
    await slow.call('iot:DeleteThing', async () => {});
    now = 10_000;
    for (const _each of [1, 2]) await slow.call('iot:DeleteThing', async () => {});
    expect(waits).toEqual([1000]);
  });
});

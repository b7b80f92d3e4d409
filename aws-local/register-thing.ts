import { z } from 'zod';
import { type Account, arnOf, certificateOf, type Input, type Operation } from './account.ts';
import { CreateCertificateFromCsr, UpdateCertificate } from './certificates.ts';
import { ApiError, refuse } from './errors.ts';
import { checkInput } from './model.ts';
import { AttachPolicy } from './policies.ts';
import { AttachThingPrincipal } from './principals.ts';
import { CreateThing } from './things.ts';

const resource = z.object({ Type: z.string(), Properties: z.record(z.string(), z.unknown()).default({}) });
const template = z.object({
  Parameters: z.record(z.string(), z.object({ Default: z.string().optional() })).default({}),
  Resources: z.record(z.string(), resource),
});

/**
 * Provisions by a template: thing, certificate and policy, parameters by `Ref`.
 * @see https://docs.aws.amazon.com/iot/latest/apireference/API_RegisterThing.html
 */
export const RegisterThing: Operation = async (account, input) => {
  try {
    return await register(account, input);
  } catch (error) {
    const passed = error instanceof ApiError && error.name !== 'InvalidRequestException';
    // the service model lists no error of the operations inside
    if (passed) refuse('ResourceRegistrationFailureException', error.message);
    throw error;
  }
};

async function register(account: Account, input: Input) {
  const { Parameters, Resources } = readTemplate(input.templateBody);
  const given = input.parameters ?? {};
  const values = Object.fromEntries(
    Object.entries(Parameters).map(([name, { Default }]) => [name, given[name] ?? Default]),
  );
  const find = (type: string) => Object.entries(Resources).find(([, each]) => each.Type === type);
  const property = (type: string, name: string) => resolve(find(type)?.[1].Properties[name], values);

  const certificate = await certificateFor(
    account,
    property('AWS::IoT::Certificate', 'CertificateSigningRequest'),
    property('AWS::IoT::Certificate', 'CertificateId'),
  );
  const arns: Record<string, string> = { certificate: certificate.certificateArn };
  const thingName = property('AWS::IoT::Thing', 'ThingName');
  if (thingName !== undefined) {
    const thingTypeName = property('AWS::IoT::Thing', 'ThingTypeName');
    await CreateThing(account, checkInput({ thingName, thingTypeName }, ['thingName']));
    const attachment = { thingName, principal: certificate.certificateArn };
    await AttachThingPrincipal(account, checkInput(attachment, ['thingName', 'principal']));
    arns.thing = arnOf(account, `thing/${thingName}`);
  }
  const policyName = property('AWS::IoT::Policy', 'PolicyName');
  if (policyName !== undefined)
    await AttachPolicy(
      account,
      checkInput({ policyName, target: certificate.certificateArn }, ['policyName', 'target']),
    );
  if ((property('AWS::IoT::Certificate', 'Status') ?? 'ACTIVE').toUpperCase() === 'ACTIVE')
    await UpdateCertificate(account, checkInput({ certificateId: certificate.certificateId, newStatus: 'ACTIVE' }, []));
  return { certificatePem: certificate.certificatePem, resourceArns: arns };
}

function readTemplate(body: unknown): z.infer<typeof template> {
  try {
    return template.parse(JSON.parse(String(body)));
  } catch {
    return refuse('InvalidRequestException', 'The template body is not valid');
  }
}

function resolve(value: unknown, values: Record<string, string | undefined>): string | undefined {
  if (typeof value === 'string') return value;
  const ref = (value as { Ref?: unknown } | undefined)?.Ref;
  return typeof ref === 'string' ? values[ref] : undefined;
}

async function certificateFor(account: Account, csr: string | undefined, certificateId: string | undefined) {
  if (certificateId !== undefined) return certificateOf(account, checkInput({ certificateId }, []).certificateId);
  const input = checkInput({ certificateSigningRequest: csr }, ['certificateSigningRequest']);
  const made = (await CreateCertificateFromCsr(account, input)) as { certificateId: string };
  return certificateOf(account, made.certificateId);
}

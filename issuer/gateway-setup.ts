import { gatewayPolicyName, partitionOf } from '../aws/iam-policy.ts';
import { retryWhile } from '../aws/retry-while.ts';
import { ignore, ignoreNotFound, together } from './expected-errors.ts';
import { certificateOf, required, statusOf } from './iot-answers.ts';
import type { IotCalls } from './iot-calls.ts';
import type { Certificate } from './issuer.ts';

/** As which thing a gateway shows its certificate, and for which role alias. */
export type GatewayThing = { readonly thingName: string; readonly roleAlias: string };

/** The IoT policy of a gateway's certificate: it may become the role, and may not connect to MQTT. Wildcards as in `devicePolicy`. */
export function gatewayPolicy(roleAlias: string, partition = 'aws'): string {
  return JSON.stringify({
    Version: '2012-10-17',
    Statement: [
      {
        Effect: 'Allow',
        Action: 'iot:AssumeRoleWithCertificate',
        Resource: `arn:${partition}:iot:*:*:rolealias/${roleAlias}`,
      },
    ],
  });
}

type Calls = Pick<
  IotCalls,
  | 'region'
  | 'getPolicy'
  | 'createPolicy'
  | 'createThing'
  | 'describeRoleAlias'
  | 'createRoleAlias'
  | 'describeCertificate'
  | 'createCertificateFromCsr'
  | 'attachPolicy'
  | 'attachThingPrincipal'
  | 'updateCertificate'
  | 'describeEndpoint'
>;

/** What is there of a gateway in AWS IoT. */
export type GatewayInAws = {
  /** the ARN of the role that the alias stands for; undefined: there is no such alias */
  readonly roleArn: string | undefined;
  readonly policy: boolean;
  readonly certificate: 'active' | 'other' | 'missing';
};

/** Looks, and changes nothing. @param certificateId the one that the gateway has */
export async function findGateway(
  iot: Pick<Calls, 'describeRoleAlias' | 'getPolicy' | 'describeCertificate'>,
  roleAlias: string,
  certificateId: string | undefined,
): Promise<GatewayInAws> {
  const [alias, policy, certificate] = await Promise.all([
    iot.describeRoleAlias(roleAlias).catch(ignoreNotFound),
    iot.getPolicy(gatewayPolicyName(roleAlias)).catch(ignoreNotFound),
    certificateId === undefined ? undefined : iot.describeCertificate(certificateId).catch(ignoreNotFound),
  ]);
  const status = certificate?.certificateDescription?.status;
  return {
    roleArn: alias?.roleAliasDescription?.roleArn,
    policy: policy !== undefined,
    certificate: status === undefined ? 'missing' : statusOf(status) === 'active' ? 'active' : 'other',
  };
}

/** Role alias, policy and thing exist afterwards. @param roleArn for an alias that is not there */
export async function ensureGateway(
  iot: Calls,
  { thingName, roleAlias }: GatewayThing,
  roleArn: string | undefined,
): Promise<void> {
  const policyName = gatewayPolicyName(roleAlias);
  const policyDocument = gatewayPolicy(roleAlias, partitionOf(await iot.region()));
  await together([
    (await iot.describeRoleAlias(roleAlias).catch(ignoreNotFound)) !== undefined || roleArn === undefined
      ? undefined
      : iot.createRoleAlias(roleAlias, roleArn).catch(ignore('ResourceAlreadyExistsException')),
    (await iot.getPolicy(policyName).catch(ignoreNotFound)) !== undefined
      ? undefined
      : iot.createPolicy({ policyName, policyDocument }).catch(ignore('ResourceAlreadyExistsException')),
    iot.createThing({ thingName }).catch(ignore('ResourceAlreadyExistsException')),
  ]);
}

/** How long to wait until all of AWS IoT knows a new certificate, in milliseconds. */
const settleMs = 10_000;

const settled = <T>(call: () => Promise<T>) => retryWhile(call, ['ResourceNotFoundException'], settleMs);

/** A certificate for the gateway's own key. It is INACTIVE, and attached to nothing. */
export const certifyGateway = async (
  iot: Pick<Calls, 'createCertificateFromCsr'>,
  csrPem: string,
): Promise<Certificate> => certificateOf(await iot.createCertificateFromCsr(csrPem), 'CreateCertificateFromCsr');

/** Attaches it to the thing and the policy of the gateway, and then makes it ACTIVE. */
export async function activateGateway(
  iot: Pick<Calls, 'attachPolicy' | 'attachThingPrincipal' | 'updateCertificate'>,
  { thingName, roleAlias }: GatewayThing,
  { certificateId, certificateArn }: Pick<Certificate, 'certificateId' | 'certificateArn'>,
): Promise<void> {
  const principal = { thingName, principal: certificateArn, thingPrincipalType: 'EXCLUSIVE_THING' } as const;
  await together([
    settled(() => iot.attachPolicy({ policyName: gatewayPolicyName(roleAlias), target: certificateArn })),
    settled(() => iot.attachThingPrincipal(principal)),
  ]);
  await settled(() => iot.updateCertificate(certificateId, 'ACTIVE'));
}

/** The host of the account's credentials provider. */
export const credentialsEndpoint = async (iot: Pick<Calls, 'describeEndpoint'>): Promise<string> =>
  required((await iot.describeEndpoint('iot:CredentialProvider')).endpointAddress, 'DescribeEndpoint');

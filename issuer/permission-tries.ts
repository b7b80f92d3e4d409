import type { Try } from '../aws/permission-try.ts';
import type { IotCalls } from './iot-calls.ts';

/** Names that no resource has. A certificate has this id with a probability of 2^-256. */
export const absent = {
  thing: 'cvm-doctor-no-such-thing',
  certificateId: '0'.repeat(64),
  policy: 'cvm-doctor-no-such-policy',
};

/** `arn:aws:iot:eu-west-1:111122223333:` of any ARN of an account. */
export const arnPrefixOf = (arn: string | undefined): string | undefined =>
  /^arn:[^:]+:iot:[^:]+:\d{12}:/.exec(arn ?? '')?.[0];

/**
 * For each action of AWS IoT in the policy of the gateway or the operator, a call that changes nothing. Most are about a thing or a certificate
 * that does not exist; AWS refuses them after it has looked at the permission.
 * @param arnPrefix of the account and region, where it is known: some calls name a certificate by its ARN
 * @see https://docs.aws.amazon.com/iot/latest/apireference/API_Operations_AWS_IoT.html
 */
export function iotPermissionTries(iot: IotCalls, arnPrefix: string | undefined): Readonly<Record<string, Try>> {
  const { thing: thingName, certificateId, policy: policyName } = absent;
  const withArn = (call: (arn: string) => Promise<unknown>): Try =>
    arnPrefix === undefined
      ? { untried: 'the call names a certificate by its ARN, and nothing said the number of the AWS account' }
      : () => call(`${arnPrefix}cert/${certificateId}`);
  return {
    'iot:AttachPolicy': withArn((target) => iot.attachPolicy({ policyName, target })),
    'iot:DetachPolicy': withArn((target) => iot.detachPolicy({ policyName, target })),
    'iot:ListAttachedPolicies': withArn((target) => iot.listAttachedPolicies({ target })),
    'iot:AttachThingPrincipal': withArn((principal) => iot.attachThingPrincipal({ thingName, principal })),
    'iot:DetachThingPrincipal': withArn((principal) => iot.detachThingPrincipal({ thingName, principal })),
    'iot:ListPrincipalThings': withArn((principal) => iot.listPrincipalThings({ principal })),
    'iot:ListThingPrincipals': () => iot.listThingPrincipals({ thingName }),

    // it names a type that does not exist, so no thing is made
    'iot:CreateThing': () => iot.createThing({ thingName, thingTypeName: 'cvm-doctor-no-such-type' }),
    'iot:DescribeThing': () => iot.describeThing(thingName),
    'iot:GetThingConnectivityData': () => iot.getThingConnectivityData(thingName),
    'iot:UpdateThing': () => iot.updateThing({ thingName }),
    // one that does not exist is no error
    'iot:DeleteThing': () => iot.deleteThing(thingName),
    'iot:AddThingToThingGroup': () =>
      iot.addThingToThingGroup({ thingName, thingGroupName: 'cvm-doctor-no-such-group' }),

    'iot:DescribeCertificate': () => iot.describeCertificate(certificateId),
    'iot:UpdateCertificate': () => iot.updateCertificate(certificateId, 'INACTIVE'),
    'iot:DeleteCertificate': () => iot.deleteCertificate(certificateId),
    'iot:ListCertificates': () => iot.listCertificates({ pageSize: 1 }),
    // of a request that is none, AWS makes no certificate
    'iot:CreateCertificateFromCsr': () => iot.createCertificateFromCsr('cvm doctor: no certificate signing request'),
    'iot:CreateKeysAndCertificate': {
      untried:
        'every call of it makes a certificate. It is needed for keys of the kind "rsa" only; the worker says when it is denied',
    },
    'iot:DescribeEndpoint': () => iot.describeEndpoint(),
  };
}

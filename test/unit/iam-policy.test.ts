import { describe, expect, it } from 'vitest';
import { type IamRole, iamPolicy, iamRoles } from '../../aws/iam-policy.ts';
import { complaints } from '../support/least-privilege.ts';

/**
 * The resource types that each action can be limited to; without any, it needs "*".
 * @see https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsiot.html
 * @see https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazondynamodb.html
 */
const resourceTypes: Readonly<Record<string, readonly string[]>> = {
  'iot:AddThingToThingGroup': ['thing', 'thinggroup'],
  'iot:AttachPolicy': ['cert', 'thinggroup'],
  'iot:AttachThingPrincipal': [],
  'iot:CreateCertificateFromCsr': [],
  'iot:CreateKeysAndCertificate': [],
  'iot:CreatePolicy': ['policy'],
  'iot:CreateThing': ['thing'],
  'iot:DeleteCertificate': ['cert'],
  'iot:DeleteThing': ['thing'],
  'iot:DescribeCertificate': ['cert'],
  'iot:DescribeEndpoint': [],
  'iot:DetachPolicy': ['cert', 'thinggroup'],
  'iot:DetachThingPrincipal': [],
  'iot:GetPolicy': ['policy'],
  'iot:ListAttachedPolicies': ['cert', 'thinggroup'],
  'iot:ListCertificates': [],
  'iot:ListPrincipalThings': [],
  'iot:ListThingPrincipals': ['thing'],
  'iot:UpdateCertificate': ['cert'],
};

const scope = {
  partition: 'aws',
  region: 'eu-west-1',
  account: '123456789012',
  table: 'devices',
  policyName: 'device',
};
const resourcesOf = (roles: readonly IamRole[]) =>
  iamPolicy(roles, scope).Statement.flatMap(({ Action, Resource }) =>
    Action.map((action): [string, string[]] => [action, Resource]),
  );

describe('the printed IAM policy', () => {
  it.each(iamRoles)(
    'of %s names for each action a resource that it can be limited to, and "*" only where no type exists',
    (role) => {
      const wrong = resourcesOf([role]).filter(([action, resources]) => {
        const types = action.startsWith('dynamodb:') ? ['table'] : resourceTypes[action];
        if (types === undefined) return true;
        if (types.length === 0) return resources.join() !== '*';
        const given = resources.map((resource) => resource.split(':')[5]?.split('/')[0] ?? '');
        // adding a thing to a group needs both resources
        return (
          !given.some((type) => types.includes(type)) || (action === 'iot:AddThingToThingGroup' && given.length < 2)
        );
      });
      expect(wrong).toEqual([]);
    },
  );

  it('names the table and the IoT policy, and grants nothing outside this account and region', () => {
    const resources = new Set(resourcesOf(iamRoles).flatMap(([, each]) => each));
    expect([...resources].sort()).toEqual([
      '*',
      'arn:aws:dynamodb:eu-west-1:123456789012:table/devices',
      'arn:aws:iot:eu-west-1:123456789012:cert/*',
      'arn:aws:iot:eu-west-1:123456789012:policy/device',
      'arn:aws:iot:eu-west-1:123456789012:thing/*',
      'arn:aws:iot:eu-west-1:123456789012:thinggroup/*',
    ]);
  });

  it('lets only the operator enrol, and only the worker create certificates', () => {
    const rolesWith = (action: string) =>
      iamRoles.filter((role) => resourcesOf([role]).some(([each]) => each === action));
    expect(rolesWith('dynamodb:PutItem')).toEqual(['operator']);
    expect(rolesWith('iot:CreateKeysAndCertificate')).toEqual(['gateway']);
    expect(rolesWith('iot:CreateCertificateFromCsr')).toEqual(['gateway']);
    expect(rolesWith('iot:AttachPolicy')).toEqual(['gateway']);
    expect(rolesWith('iot:CreatePolicy')).toEqual(['setup']);
  });
});

describe('the comparison with the calls of a test run', () => {
  const call = (operation: string, agent: string) => `${operation}\taws-sdk-js/3 ua/2.1 ${agent} lang/js\n`;

  it('reports a call that its role may not make, although another role may', () => {
    const lines = call('DynamoDB.PutItem', 'cvm-gateway/gateway');
    expect(complaints(lines, ['gateway'], false).join()).toContain(
      'of the gateway role does not allow what tests call: dynamodb:PutItem',
    );
    expect(complaints(lines, ['operator'], false)).toEqual([]);
    expect(complaints(lines, iamRoles, false)).toEqual([]);
  });

  it('reports an action that a role may call and never calls, after a whole run', () => {
    const lines = call('CreatePolicy', 'cvm-gateway/setup') + call('DynamoDB.CreateTable', 'cvm-gateway/operator');
    expect(complaints(lines, ['setup'], true).join()).toContain(
      'allows what no test calls: iot:GetPolicy, dynamodb:CreateTable, dynamodb:DescribeTable',
    );
  });

  it('allows adapters without a role the actions of every role, and ignores calls of other programs', () => {
    expect(complaints(call('CreatePolicyVersion', 'cvm-gateway'), iamRoles, false)).toHaveLength(1);
    expect(complaints(call('CreatePolicyVersion', 'cvm-gateway-of-another-program'), iamRoles, false)).toEqual([]);
  });
});

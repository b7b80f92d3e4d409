import { describe, expect, it } from 'vitest';
import { type IamRole, iamPolicy, iamRoles } from '../../aws/iam-policy.ts';
import { complaints } from '../support/least-privilege.ts';

/**
 * What each action can be limited to; nothing: to no resource at all, so that it needs "*".
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
    'of %s names for each action a resource that it can be limited to, and "*" only where there is none',
    (role) => {
      const wrong = resourcesOf([role]).filter(([action, resources]) => {
        const types = action.startsWith('dynamodb:') ? ['table'] : resourceTypes[action];
        if (types === undefined) return true;
        if (types.length === 0) return resources.join() !== '*';
        const given = resources.map((resource) => resource.split(':')[5]?.split('/')[0] ?? '');
        // each that is given is one that counts; a thing joins a group only with both
        return (
          !given.some((type) => types.includes(type)) || (action === 'iot:AddThingToThingGroup' && given.length < 2)
        );
      });
      expect(wrong).toEqual([]);
    },
  );

  it('holds the table and the IoT policy by their names, and nothing beyond this account and region', () => {
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

  it('lets nobody but an operator enrol, and nobody but the worker create certificates', () => {
    const who = (action: string) => iamRoles.filter((role) => resourcesOf([role]).some(([each]) => each === action));
    expect(who('dynamodb:PutItem')).toEqual(['operator']);
    expect(who('iot:CreateKeysAndCertificate')).toEqual(['gateway']);
    expect(who('iot:CreateCertificateFromCsr')).toEqual(['gateway']);
    expect(who('iot:AttachPolicy')).toEqual(['gateway']);
    expect(who('iot:CreatePolicy')).toEqual(['setup']);
  });
});

describe('the comparison with what was called', () => {
  const call = (operation: string, agent: string) => `${operation}\taws-sdk-js/3 ua/2.1 ${agent} lang/js\n`;

  it('complains of a call that its role may not make, though another may', () => {
    const lines = call('DynamoDB.PutItem', 'cvm-gateway/gateway');
    expect(complaints(lines, ['gateway'], false).join()).toContain('of the gateway role lacks [dynamodb:PutItem]');
    expect(complaints(lines, ['operator'], false)).toEqual([]);
    expect(complaints(lines, iamRoles, false)).toEqual([]);
  });

  it('complains of what a role may and nobody does, after a whole run', () => {
    const lines = call('CreatePolicy', 'cvm-gateway/setup') + call('DynamoDB.CreateTable', 'cvm-gateway/operator');
    expect(complaints(lines, ['setup'], true).join()).toContain(
      'nobody calls [iot:GetPolicy, dynamodb:CreateTable, dynamodb:DescribeTable]',
    );
  });

  it('takes adapters without a role for anybody of ours, and who is not ours for nobody', () => {
    expect(complaints(call('CreatePolicyVersion', 'cvm-gateway'), iamRoles, false)).toHaveLength(1);
    expect(complaints(call('CreatePolicyVersion', 'cvm-gateway-of-somebody-else'), iamRoles, false)).toEqual([]);
  });
});

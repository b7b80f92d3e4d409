import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type IamRole, iamPolicy, iamRoles } from '../../aws/iam-policy.ts';
import { listOf, printedActions, printedPolicies } from '../iam-data/printed-actions.ts';
import { complaints } from '../support/least-privilege.ts';

/** From AWS's service authorization reference; `npm run test:iam-data` brings it up to date. */
const reference: {
  readonly updatedAt: string;
  readonly actions: Readonly<
    Record<
      string,
      { readonly resourceTypes: Readonly<Record<string, string>>; readonly conditionKeys: readonly string[] }
    >
  >;
} = JSON.parse(readFileSync(join(import.meta.dirname, '../iam-data/actions.json'), 'utf8'));

/** What is wrong with one action of a statement; undefined when AWS allows what the policy says. */
function faultOf(action: string, resources: readonly string[], conditionKeys: readonly string[]): string | undefined {
  const known = reference.actions[action];
  if (known === undefined) return 'is not in the reference';
  const types = Object.keys(known.resourceTypes);
  const given = resources.map((resource) => resource.split(':')[5]?.split('/')[0] ?? resource);
  const unlimited = given.includes('*');
  // a statement that names a resource allows nothing for an action without resource types
  if (types.length === 0 && !unlimited) return 'can be limited to no resource, and is not allowed on "*"';
  if (types.length > 0 && !unlimited && !given.some((type) => types.includes(type))) return `needs one of ${types}`;
  const required = Object.entries(known.resourceTypes).flatMap(([type, need]) => (need === 'required' ? [type] : []));
  const lacking = required.filter((type) => !given.includes(type));
  if (lacking.length > 0) return `can and must be limited to ${lacking}`;
  // of IAM alone: the condition keys of IoT policies are in no reference that is data
  const unknown = conditionKeys.filter((key) => !known.conditionKeys.includes(key));
  return unknown.length > 0 ? `has no condition keys ${unknown}` : undefined;
}

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
  it.each(printedPolicies())(
    'of %s fits the reference of AWS: each action exists, its resources and conditions are those it takes, and "*" stands only where no resource can',
    (name, statements) => {
      const faults = statements.flatMap(({ Action, Resource, Condition = {} }) => {
        const keys = name === 'devices' ? [] : Object.values(Condition).flatMap(Object.keys);
        return listOf(Action).flatMap((action) => {
          const fault = faultOf(action, listOf(Resource), keys);
          return fault === undefined ? [] : [`${action} ${fault}`];
        });
      });
      expect(faults).toEqual([]);
    },
  );

  it('is compared with a reference that has a date, and that has no action of an earlier policy', () => {
    expect(Date.parse(reference.updatedAt)).toBeGreaterThan(Date.parse('2026-09-01'));
    expect(Object.keys(reference.actions)).toEqual(printedActions());
  });

  it('names the table and the IoT policy, and grants nothing outside this account and region', () => {
    const resources = new Set(resourcesOf(iamRoles).flatMap(([, each]) => each));
    expect([...resources].sort()).toEqual([
      '*',
      'arn:aws:dynamodb:eu-west-1:123456789012:table/devices',
      'arn:aws:dynamodb:eu-west-1:123456789012:table/devices/index/cvm-site',
      'arn:aws:iot:eu-west-1:123456789012:cert/*',
      'arn:aws:iot:eu-west-1:123456789012:policy/*-gateway',
      'arn:aws:iot:eu-west-1:123456789012:policy/device',
      'arn:aws:iot:eu-west-1:123456789012:rolealias/*',
      'arn:aws:iot:eu-west-1:123456789012:thing/*',
      'arn:aws:iot:eu-west-1:123456789012:thinggroup/*',
    ]);
  });

  it('lets the operator read a table that is taken over, and lets no role write to it', () => {
    const sourceTable = 'deviceInfo';
    const about = (role: IamRole) =>
      iamPolicy([role], { ...scope, sourceTable }).Statement.filter(({ Resource }) =>
        Resource.join().includes(sourceTable),
      );
    expect(about('operator')).toMatchObject([
      { Action: ['dynamodb:Scan'], Resource: ['arn:aws:dynamodb:eu-west-1:123456789012:table/deviceInfo'] },
    ]);
    for (const role of ['gateway', 'setup'] as const) expect(about(role)).toEqual([]);
  });

  it('lets only the operator enrol, and only the worker create certificates', () => {
    const rolesWith = (action: string) =>
      iamRoles.filter((role) => resourcesOf([role]).some(([each]) => each === action));
    expect(rolesWith('dynamodb:PutItem')).toEqual(['operator']);
    expect(rolesWith('iot:CreateKeysAndCertificate')).toEqual(['gateway']);
    // besides, the one who gives a gateway its own certificate
    expect(rolesWith('iot:CreateCertificateFromCsr')).toEqual(['gateway', 'identity']);
    expect(rolesWith('iot:AttachPolicy')).toEqual(['gateway', 'identity']);
    expect(rolesWith('iot:CreatePolicy')).toEqual(['setup', 'identity']);
  });

  it('allows iam:PassRole to the maker of a role alias alone, and for the role of the alias alone', () => {
    const gatewayRole = 'arn:aws:iam::123456789012:role/cvm-worker';
    const about = (role: IamRole) =>
      iamPolicy([role], { ...scope, gatewayRole }).Statement.filter(({ Sid }) => Sid === 'PassRole');
    expect(about('identity')).toMatchObject([{ Action: ['iam:PassRole'], Resource: [gatewayRole] }]);
    for (const role of ['gateway', 'operator', 'setup'] as const) expect(about(role)).toEqual([]);
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
      'allows what no test calls: iot:GetPolicy, dynamodb:CreateTable, dynamodb:DescribeContinuousBackups, dynamodb:DescribeTable',
    );
  });

  it('allows adapters without a role the actions of every role, and ignores calls of other programs', () => {
    expect(complaints(call('CreatePolicyVersion', 'cvm-gateway'), iamRoles, false)).toHaveLength(1);
    expect(complaints(call('CreatePolicyVersion', 'cvm-gateway-of-another-program'), iamRoles, false)).toEqual([]);
  });
});

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { cloudFormationTemplate } from '../../app/cloudformation.ts';
import { actionsOf, type IamRole, iamPolicy, iamRoles } from '../../aws/iam-policy.ts';
import { devicePolicy } from '../../issuer/setup.ts';
import { siteIndex } from '../../registry/dynamodb/site-index.ts';

const file = 'deploy/aws/cvm-gateway.json';
type Tree = { readonly [name: string]: unknown };
type Statement = { Sid: string; Effect: string; Action: string[]; Resource: unknown[] };
type Resource = { readonly Type: string; readonly Properties: Tree };
const template = cloudFormationTemplate() as unknown as {
  readonly Parameters: Readonly<Record<string, { Default: string }>>;
  readonly Resources: Readonly<Record<string, Resource>>;
  readonly Outputs: Tree;
};

const propertiesOf = (name: string): Tree => template.Resources[name]?.Properties ?? {};

/** The properties of each type, from AWS's template reference (November 2026). */
const properties: Readonly<Record<string, readonly string[]>> = {
  'AWS::DynamoDB::Table': [
    'AttributeDefinitions BillingMode ContributorInsightsSpecification DeletionProtectionEnabled GlobalSecondaryIndexes',
    'ImportSourceSpecification KeySchema KinesisStreamSpecification LocalSecondaryIndexes OnDemandThroughput',
    'PointInTimeRecoverySpecification ProvisionedThroughput ResourcePolicy SSESpecification StreamSpecification',
    'TableClass TableName Tags TimeToLiveSpecification WarmThroughput',
  ],
  'AWS::IoT::Policy': ['PolicyDocument PolicyName Tags'],
  'AWS::IoT::RoleAlias': ['CredentialDurationSeconds RoleAlias RoleArn Tags'],
  'AWS::IAM::Role': [
    'AssumeRolePolicyDocument Description ManagedPolicyArns MaxSessionDuration Path PermissionsBoundary Policies RoleName Tags',
  ],
  'AWS::CloudWatch::Alarm': [
    'ActionsEnabled AlarmActions AlarmDescription AlarmName ComparisonOperator DatapointsToAlarm Dimensions',
    'EvaluateLowSampleCountPercentile EvaluationPeriods ExtendedStatistic InsufficientDataActions MetricName Metrics',
    'Namespace OKActions Period Statistic Tags Threshold ThresholdMetricId TreatMissingData Unit',
  ],
};

/** What a stack with these parameters makes of a part: `Ref`, `Fn::Sub` and nothing else. */
function resolved(part: unknown, values: Readonly<Record<string, string>>): unknown {
  if (Array.isArray(part)) return part.map((each) => resolved(each, values));
  if (typeof part !== 'object' || part === null) return part;
  const tree = part as Tree;
  if (typeof tree.Ref === 'string') return values[tree.Ref];
  if (typeof tree['Fn::Sub'] === 'string')
    return tree['Fn::Sub'].replace(/\$\{(!?)([^}]+)\}/g, (_all, literal: string, name: string) =>
      literal ? `\${${name}}` : (values[name] ?? `UNKNOWN ${name}`),
    );
  return Object.fromEntries(Object.entries(tree).map(([name, each]) => [name, resolved(each, values)]));
}

const values = {
  'AWS::Partition': 'aws-cn',
  'AWS::Region': 'cn-north-1',
  'AWS::AccountId': '123456789012',
  TableName: 'fleet',
  DevicePolicyName: 'pump',
  RoleAlias: 'workers',
};

describe('the CloudFormation template', () => {
  it('in deploy/aws is what "cvm aws template" prints', () => {
    expect(JSON.parse(readFileSync(file, 'utf8'))).toEqual(template);
  });

  it('has resources of known types only, with properties that these types have', () => {
    for (const [name, { Type, Properties }] of Object.entries(template.Resources)) {
      const known = (properties[Type] ?? []).flatMap((line) => line.split(' '));
      expect(known, `${name}: ${Type}`).not.toEqual([]);
      expect(
        Object.keys(Properties).filter((property) => !known.includes(property)),
        name,
      ).toEqual([]);
    }
  });

  it('refers only to parameters, pseudo parameters, conditions and resources that there are', () => {
    const known = [...Object.keys(template.Parameters), ...Object.keys(template.Resources)];
    const text = JSON.stringify(template);
    const named = [
      ...[...text.matchAll(/"Ref":"([^"]+)"/g), ...text.matchAll(/\$\{(?![!i])([^}]+)\}/g)].map(
        ([, name = '']) => name,
      ),
      ...[...text.matchAll(/"Fn::GetAtt":\["([^"]+)"/g)].map(([, name = '']) => name),
    ];
    expect(named.length).toBeGreaterThan(20);
    expect(named.filter((name) => !known.includes(name) && !name.startsWith('AWS::'))).toEqual([]);
  });

  it('names conditions that there are, and attributes that a role has', () => {
    const text = JSON.stringify(template);
    const conditions = Object.keys((template as unknown as { Conditions: Tree }).Conditions);
    const used = [...text.matchAll(/"Fn::If":\["([^"]+)"/g)].map(([, name]) => name);
    expect(used.length).toBeGreaterThan(0);
    expect(used.filter((name) => !conditions.includes(name ?? ''))).toEqual([]);
    for (const [, name = '', attribute] of text.matchAll(/"Fn::GetAtt":\["([^"]+)","([^"]+)"\]/g))
      expect([template.Resources[name]?.Type, attribute]).toEqual(['AWS::IAM::Role', 'Arn']);
  });

  it('allows by its roles only what the least-privilege policies name, no action by a wildcard, and "*" only where AWS takes no resource', () => {
    const known = new Set(iamRoles.flatMap(actionsOf));
    const roles = Object.values(template.Resources).filter(({ Type }) => Type === 'AWS::IAM::Role');
    expect(roles).toHaveLength(2);
    for (const { Properties } of roles)
      for (const { PolicyDocument } of Properties.Policies as { PolicyDocument: { Statement: Statement[] } }[])
        for (const { Sid, Effect, Action, Resource } of PolicyDocument.Statement) {
          expect(Effect).toBe('Allow');
          expect(Action.filter((action) => !known.has(action) || action.includes('*'))).toEqual([]);
          if (Sid !== 'WithoutResource') expect(Resource).not.toContain('*');
        }
  });

  it.each([
    ['GatewayRole', 'gateway'],
    ['OperatorRole', 'operator'],
  ] as const)(
    'gives %s what "cvm aws policy" prints for %s, in the account, region and partition of the stack',
    (name, role) => {
      const [policy] = propertiesOf(name).Policies as { PolicyDocument: unknown }[];
      expect(resolved(policy?.PolicyDocument, values)).toEqual(
        iamPolicy([role satisfies IamRole], {
          partition: 'aws-cn',
          region: 'cn-north-1',
          account: '123456789012',
          table: 'fleet',
          policyName: 'pump',
        }),
      );
    },
  );

  it('gives devices the IoT policy that "cvm aws setup" makes, with its variables left to AWS IoT', () => {
    const { PolicyDocument } = template.Resources.DevicePolicy?.Properties ?? {};
    expect(resolved(PolicyDocument, values)).toEqual(JSON.parse(devicePolicy('aws-cn')));
    const own = resolved(template.Resources.GatewayPolicy?.Properties, values);
    expect(own).toMatchObject({
      PolicyName: 'workers-gateway',
      PolicyDocument: { Statement: [{ Resource: 'arn:aws-cn:iot:*:*:rolealias/workers' }] },
    });
  });

  it('makes the table that "cvm aws setup" makes, kept when the stack goes, with recovery, protection and time to live', () => {
    const { Table } = template.Resources;
    expect(Table).toMatchObject({
      DeletionPolicy: 'Retain',
      UpdateReplacePolicy: 'Retain',
      Properties: {
        KeySchema: [{ AttributeName: 'productId', KeyType: 'HASH' }],
        GlobalSecondaryIndexes: [{ IndexName: siteIndex.name, Projection: { NonKeyAttributes: siteIndex.included } }],
        DeletionProtectionEnabled: true,
        PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true },
        TimeToLiveSpecification: { AttributeName: 'forgetAt', Enabled: true },
      },
    });
    const defined = (propertiesOf('Table').AttributeDefinitions as { AttributeName: string }[]).map(
      ({ AttributeName }) => AttributeName,
    );
    // CloudFormation refuses an attribute that no key uses
    expect(defined.sort()).toEqual(['changedAt', 'productId', 'site']);
  });

  it('lets only the credentials provider of AWS IoT take the role of the gateway, and only this account that of the operator', () => {
    const principal = (name: string) => {
      const { Statement } = propertiesOf(name).AssumeRolePolicyDocument as {
        Statement: { Principal: unknown }[];
      };
      return Statement.map(({ Principal }) => resolved(Principal, values));
    };
    expect(principal('GatewayRole')).toEqual([{ Service: 'credentials.iot.amazonaws.com' }]);
    expect(principal('OperatorRole')).toEqual([{ AWS: 'arn:aws-cn:iam::123456789012:root' }]);
  });
});

import { gatewayPolicyName, type IamRole, iamPolicy } from '../aws/iam-policy.ts';
import { gatewayPolicy } from '../issuer/gateway-setup.ts';
import { devicePolicy } from '../issuer/setup.ts';
import { expiryAttribute, keyAttribute } from '../registry/dynamodb/named-attributes.ts';
import { siteIndex } from '../registry/dynamodb/site-index.ts';

/** A part of a template: JSON, with intrinsic functions of CloudFormation in it. */
type Json = string | number | boolean | readonly Json[] | { readonly [name: string]: Json };

const ref = (name: string): Json => ({ Ref: name });

/** What IAM and IoT policies are scoped to: the parameters of the template, and the place where the stack is. */
const scope = {
  partition: '${AWS::Partition}',
  region: '${AWS::Region}',
  account: '${AWS::AccountId}',
  table: '${TableName}',
  policyName: '${DevicePolicyName}',
};

/** Turns texts that name a parameter into `Fn::Sub`, in which the variables of IoT policies must be left alone. */
function substituted(value: Json): Json {
  if (typeof value === 'string')
    return /\$\{(?!iot:)/.test(value) ? { 'Fn::Sub': value.replaceAll('${iot:', '${!iot:') } : value;
  if (Array.isArray(value)) return value.map(substituted);
  if (typeof value === 'object')
    return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, substituted(part)]));
  return value;
}

const policyFor = (role: IamRole): Json => substituted(iamPolicy([role], scope) as unknown as Json);

const roleFor = (role: IamRole, principal: Json): Json => ({
  Type: 'AWS::IAM::Role',
  Properties: {
    AssumeRolePolicyDocument: {
      Version: '2012-10-17',
      Statement: [{ Effect: 'Allow', Action: 'sts:AssumeRole', Principal: principal }],
    },
    Policies: [{ PolicyName: `cvm-${role}`, PolicyDocument: policyFor(role) }],
  },
});

/** Without a topic, an alarm is seen on the console of CloudWatch only. */
const alarm = (description: string, metric: { readonly [name: string]: Json }): Json => ({
  Type: 'AWS::CloudWatch::Alarm',
  Properties: {
    AlarmDescription: description,
    ...metric,
    Statistic: 'Sum',
    Period: 300,
    ComparisonOperator: 'GreaterThanThreshold',
    TreatMissingData: 'notBreaching',
    AlarmActions: { 'Fn::If': ['HasAlarmTopic', [ref('AlarmTopicArn')], { Ref: 'AWS::NoValue' }] },
  },
});

const tableAlarm = (metric: string, description: string): Json =>
  alarm(description, {
    Namespace: 'AWS/DynamoDB',
    MetricName: metric,
    Dimensions: [{ Name: 'TableName', Value: ref('Table') }],
    Threshold: 0,
    EvaluationPeriods: 2,
  });

const text = (description: string, more: { readonly [name: string]: Json }): Json => ({
  Type: 'String',
  Description: description,
  ...more,
});

/**
 * The account's side of the product as a CloudFormation template: what `cvm aws setup` and `cvm aws policy` make, from the same definitions,
 * and what they leave to the owner of the account. `deploy/aws/cvm-gateway.json` is its output; a test compares the two.
 * @see https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-template-resource-type-ref.html
 */
export function cloudFormationTemplate(): Json {
  return {
    AWSTemplateFormatVersion: '2010-09-09',
    Description:
      'cvm-gateway: association table, IoT policies, least-privilege roles, role alias and alarms. Made by "cvm aws template"',
    Parameters: {
      TableName: text('CVM_TABLE', { Default: 'cvm-devices', AllowedPattern: '[A-Za-z0-9_.-]{3,255}' }),
      DevicePolicyName: text('CVM_POLICY_NAME', { Default: 'cvm-device', AllowedPattern: '[\\w+=,.@-]{1,128}' }),
      RoleAlias: text('CVM_ROLE_ALIAS', { Default: 'cvm-gateway', AllowedPattern: '[\\w=,@-]{1,120}' }),
      AlarmTopicArn: text('An SNS topic that is told of alarms; empty: none', { Default: '' }),
    },
    Conditions: { HasAlarmTopic: { 'Fn::Not': [{ 'Fn::Equals': [ref('AlarmTopicArn'), ''] }] } },
    Resources: { ...tableResources(), ...policyResources(), ...roleResources(), ...alarmResources() },
    Outputs: {
      Table: { Description: 'CVM_TABLE', Value: ref('Table') },
      RoleAlias: { Description: 'CVM_ROLE_ALIAS', Value: ref('GatewayRoleAlias') },
      GatewayRoleArn: { Value: { 'Fn::GetAtt': ['GatewayRole', 'Arn'] } },
      OperatorRoleArn: {
        Description: 'role_arn of an AWS profile for cvm devices and cvm sweep',
        Value: { 'Fn::GetAtt': ['OperatorRole', 'Arn'] },
      },
    },
  };
}

/** It outlives the stack: the rows are all that ties devices to their certificates. */
function tableResources(): { readonly [name: string]: Json } {
  return {
    Table: {
      Type: 'AWS::DynamoDB::Table',
      DeletionPolicy: 'Retain',
      UpdateReplacePolicy: 'Retain',
      Properties: {
        TableName: ref('TableName'),
        BillingMode: 'PAY_PER_REQUEST',
        KeySchema: [{ AttributeName: keyAttribute, KeyType: 'HASH' }],
        AttributeDefinitions: [
          { AttributeName: keyAttribute, AttributeType: 'S' },
          { AttributeName: siteIndex.partition, AttributeType: 'S' },
          { AttributeName: siteIndex.sort, AttributeType: 'N' },
        ],
        GlobalSecondaryIndexes: [
          {
            IndexName: siteIndex.name,
            KeySchema: [
              { AttributeName: siteIndex.partition, KeyType: 'HASH' },
              { AttributeName: siteIndex.sort, KeyType: 'RANGE' },
            ],
            Projection: { ProjectionType: 'INCLUDE', NonKeyAttributes: siteIndex.included },
          },
        ],
        DeletionProtectionEnabled: true,
        PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true },
        TimeToLiveSpecification: { AttributeName: expiryAttribute, Enabled: true },
      },
    },
  };
}

function policyResources(): { readonly [name: string]: Json } {
  const document = (policy: string): Json => substituted(JSON.parse(policy) as Json);
  return {
    DevicePolicy: {
      Type: 'AWS::IoT::Policy',
      Properties: { PolicyName: ref('DevicePolicyName'), PolicyDocument: document(devicePolicy(scope.partition)) },
    },
    GatewayPolicy: {
      Type: 'AWS::IoT::Policy',
      Properties: {
        PolicyName: substituted(gatewayPolicyName('${RoleAlias}')),
        PolicyDocument: document(gatewayPolicy('${RoleAlias}', scope.partition)),
      },
    },
  };
}

function roleResources(): { readonly [name: string]: Json } {
  const root: Json = { AWS: { 'Fn::Sub': 'arn:${AWS::Partition}:iam::${AWS::AccountId}:root' } };
  return {
    GatewayRole: roleFor('gateway', { Service: 'credentials.iot.amazonaws.com' }),
    GatewayRoleAlias: {
      Type: 'AWS::IoT::RoleAlias',
      Properties: {
        RoleAlias: ref('RoleAlias'),
        RoleArn: { 'Fn::GetAtt': ['GatewayRole', 'Arn'] },
        CredentialDurationSeconds: 3600,
      },
    },
    // who of the account may become it is for IAM to say
    OperatorRole: roleFor('operator', root),
  };
}

function alarmResources(): { readonly [name: string]: Json } {
  return {
    TableWriteThrottled: tableAlarm(
      'WriteThrottleEvents',
      'DynamoDB throttles writes to the table: requests of devices wait',
    ),
    TableReadThrottled: tableAlarm(
      'ReadThrottleEvents',
      'DynamoDB throttles reads of the table: requests of devices wait',
    ),
    DevicesRefused: alarm(
      'AWS IoT Core refuses devices that connect: a policy or a certificate is wrong. cvm devices list --silent shows which of ours never came alive',
      {
        Namespace: 'AWS/IoT',
        MetricName: 'Connect.AuthError',
        Dimensions: [{ Name: 'Protocol', Value: 'MQTT' }],
        Threshold: 20,
        EvaluationPeriods: 3,
      },
    ),
  };
}

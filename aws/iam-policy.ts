/** The one index of the table, which the policy names. */
export const siteIndexName = 'cvm-site';

/**
 * Every operation of AWS that the product calls, by role and by the kind of resource that it can be limited to (`any`: to
 * none). `AwsOperation` is derived from this table, so a call that is missing here does not compile. A test compares the
 * table with the calls that the whole test suite makes, and fails for an operation that a role may call and never does. Another
 * compares it with AWS's service authorization reference as data (`test/iam-data/`).
 * @see https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsiot.html
 * @see https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazondynamodb.html
 * @see https://docs.aws.amazon.com/service-authorization/latest/reference/list_servicequotas.html
 */
const actions = {
  /** the worker; the broker asks AWS for nothing */
  gateway: {
    cert: ['AttachPolicy', 'DeleteCertificate', 'DescribeCertificate', 'DetachPolicy', 'UpdateCertificate'],
    // DescribeThing and UpdateThing: what a provisioning template says of a thing
    thing: [
      'AddThingToThingGroup',
      'CreateThing',
      'DeleteThing',
      'DescribeThing',
      // whether a device came alive: without it, only that is not known
      'GetThingConnectivityData',
      'ListThingPrincipals',
      'UpdateThing',
    ],
    any: [
      'AttachThingPrincipal',
      'CreateCertificateFromCsr',
      'CreateKeysAndCertificate',
      'DescribeEndpoint',
      'DetachThingPrincipal',
      // of thing groups as well as of certificates; AWS knows no resource type for it
      'ListAttachedPolicies',
      'ListCertificates',
      'ListPrincipalThings',
    ],
    policy: [],
    roleAlias: [],
    table: ['DeleteItem', 'GetItem', 'Scan', 'UpdateItem'],
    index: ['Query'],
    quota: [],
  },
  /** `cvm devices`, `cvm sweep` */
  operator: {
    cert: ['DeleteCertificate', 'DescribeCertificate', 'DetachPolicy', 'UpdateCertificate'],
    thing: ['DeleteThing', 'ListThingPrincipals'],
    any: ['DetachThingPrincipal', 'ListAttachedPolicies', 'ListCertificates', 'ListPrincipalThings'],
    policy: [],
    roleAlias: [],
    table: ['DeleteItem', 'GetItem', 'PutItem', 'Scan', 'UpdateItem'],
    index: ['Query'],
    quota: [],
  },
  /** `cvm aws setup` */
  setup: {
    cert: [],
    thing: [],
    any: [],
    policy: ['CreatePolicy', 'GetPolicy'],
    roleAlias: [],
    table: [
      'CreateTable',
      'DescribeContinuousBackups',
      'DescribeTable',
      'DescribeTimeToLive',
      // point-in-time recovery
      'UpdateContinuousBackups',
      'UpdateTable',
      'UpdateTimeToLive',
    ],
    index: [],
    quota: [],
  },
  /** `cvm doctor` and `cvm status`, besides those of the gateway or the operator: reads what they would only guess otherwise */
  doctor: {
    cert: [],
    thing: [],
    any: [],
    policy: ['GetPolicy'],
    table: ['DescribeContinuousBackups', 'DescribeTable', 'DescribeTimeToLive'],
    roleAlias: [],
    index: [],
    // Service Quotas knows no resource type for it
    quota: ['GetServiceQuota'],
  },
  /** `cvm aws setup --gateway`: what a gateway is in AWS IoT, so that it needs no AWS keys */
  identity: {
    cert: ['AttachPolicy', 'DeleteCertificate', 'DescribeCertificate', 'DetachPolicy', 'UpdateCertificate'],
    thing: ['CreateThing'],
    any: [
      'AttachThingPrincipal',
      'CreateCertificateFromCsr',
      'DescribeEndpoint',
      'DetachThingPrincipal',
      'ListAttachedPolicies',
      'ListPrincipalThings',
    ],
    policy: ['CreatePolicy', 'GetPolicy'],
    roleAlias: ['CreateRoleAlias', 'DescribeRoleAlias'],
    table: [],
    index: [],
    quota: [],
  },
} as const;

/** The IoT policy of gateways that use a role alias is named after it. */
export const gatewayPolicyName = (roleAlias: string): string => `${roleAlias}-gateway`;

type Actions = typeof actions;
export type IamRole = keyof Actions;
export const iamRoles = Object.keys(actions) as IamRole[];

/** The actions of a role, as IAM spells them, in the order of the alphabet. */
export function actionsOf(role: IamRole): readonly string[] {
  const { table, index, quota, ...iot } = actions[role] as Readonly<Record<string, readonly string[]>>;
  const named = (service: string, names: readonly string[] = []) => names.map((name) => `${service}:${name}`);
  const ofIot = named('iot', Object.values(iot).flat());
  const others = [...named('dynamodb', table), ...named('dynamodb', index), ...named('servicequotas', quota)];
  return [...new Set([...ofIot, ...others])].sort();
}

type ActionOf<Kind extends keyof Actions[IamRole]> = { [Role in IamRole]: Actions[Role][Kind][number] }[IamRole];

/** One operation of one AWS API, as IAM names it: `iot:CreateThing`, `dynamodb:UpdateItem`. */
export type AwsOperation =
  | `iot:${ActionOf<'cert' | 'thing' | 'any' | 'policy' | 'roleAlias'>}`
  | `dynamodb:${ActionOf<'table' | 'index'>}`
  | `servicequotas:${ActionOf<'quota'>}`
  | 'dynamodb:TransactWriteItems';

/** The action of IAM that an operation needs: a transaction has none of its own, and needs those of its parts. */
export const permissionFor = (operation: AwsOperation): string =>
  operation === 'dynamodb:TransactWriteItems' ? 'dynamodb:UpdateItem' : operation;

type Statement = { Sid: string; Effect: 'Allow'; Action: string[]; Resource: string[] };

/**
 * The least-privilege IAM policy of these roles.
 * @param scope region and account may be "*" where they are not known; `sourceTable` is one that an operator takes over
 */
export function iamPolicy(
  roles: readonly IamRole[],
  scope: {
    readonly partition: string;
    readonly region: string;
    readonly account: string;
    readonly table: string;
    readonly policyName: string;
    readonly sourceTable?: string | undefined;
    /** the role behind a new role alias: the person who creates the alias needs `iam:PassRole` for it */
    readonly gatewayRole?: string | undefined;
  },
): { Version: string; Statement: Statement[] } {
  const { partition, region, account, table, policyName, sourceTable, gatewayRole } = scope;
  const dynamoTable = (name: string) => `arn:${partition}:dynamodb:${region}:${account}:table/${name}`;
  const iot = (resource: string) => `arn:${partition}:iot:${region}:${account}:${resource}`;
  const of = (kind: keyof (typeof actions)['gateway']) =>
    [...new Set(roles.flatMap((role): readonly string[] => actions[role][kind]))].sort();
  const things = of('thing');
  const statement = (sid: string, service: string, names: readonly string[], resources: string[]): Statement[] =>
    names.length === 0
      ? []
      : [{ Sid: sid, Effect: 'Allow', Action: names.map((name) => `${service}:${name}`), Resource: resources }];
  return {
    Version: '2012-10-17',
    Statement: [
      ...statement('Certificates', 'iot', of('cert'), [iot('cert/*')]),
      ...statement('Things', 'iot', things, [
        iot('thing/*'),
        // adding a thing to a group needs both
        ...(things.includes('AddThingToThingGroup') ? [iot('thinggroup/*')] : []),
      ]),
      ...statement('Policy', 'iot', of('policy'), [
        ...(roles.includes('setup') || roles.includes('doctor') ? [iot(`policy/${policyName}`)] : []),
        ...(roles.includes('identity') ? [iot(`policy/${gatewayPolicyName('*')}`)] : []),
      ]),
      ...statement('RoleAlias', 'iot', of('roleAlias'), [iot('rolealias/*')]),
      ...(gatewayRole === undefined || !roles.includes('identity')
        ? []
        : statement('PassRole', 'iam', ['PassRole'], [gatewayRole])),
      ...statement('WithoutResource', 'iot', of('any'), ['*']),
      ...statement('Quotas', 'servicequotas', of('quota'), ['*']),
      ...statement('Table', 'dynamodb', of('table'), [dynamoTable(table)]),
      // AWS's reference wants the table named beside the index
      ...statement('Index', 'dynamodb', of('index'), [
        dynamoTable(table),
        `${dynamoTable(table)}/index/${siteIndexName}`,
      ]),
      ...(sourceTable === undefined || !roles.includes('operator')
        ? []
        : statement('SourceTable', 'dynamodb', ['Scan'], [dynamoTable(sourceTable)])),
    ],
  };
}

/** @see https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html */
export function partitionOf(region: string): string {
  return partitions.find(([prefix]) => region.startsWith(prefix))?.[1] ?? 'aws';
}

/** As the SDK's endpoint rules have them. */
const partitions = [
  ['cn-', 'aws-cn'],
  ['us-gov-', 'aws-us-gov'],
  ['eusc-', 'aws-eusc'],
  ['us-iso-', 'aws-iso'],
  ['us-isob-', 'aws-iso-b'],
  ['eu-isoe-', 'aws-iso-e'],
  ['us-isof-', 'aws-iso-f'],
] as const;

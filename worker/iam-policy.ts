/**
 * What the product asks AWS to do, by who asks. A test compares it with the calls that the whole test suite makes: what is
 * missing here fails, and what is here and never called fails, too.
 * Resource types are those of the Service Authorization Reference; where an action has none, it is for "*" only.
 * @see https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsiot.html
 * @see https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazondynamodb.html
 */
const actions = {
  /** the worker; the broker asks AWS for nothing */
  gateway: {
    cert: [
      'AttachPolicy',
      'DeleteCertificate',
      'DescribeCertificate',
      'DetachPolicy',
      'ListAttachedPolicies',
      'UpdateCertificate',
    ],
    thing: ['AddThingToThingGroup', 'CreateThing', 'DeleteThing'],
    thinggroup: ['AddThingToThingGroup'],
    any: [
      'AttachThingPrincipal',
      'CreateCertificateFromCsr',
      'CreateKeysAndCertificate',
      'DescribeEndpoint',
      'DetachThingPrincipal',
      'ListCertificates',
      'ListPrincipalThings',
    ],
    policy: [],
    table: ['DeleteItem', 'GetItem', 'Scan', 'UpdateItem'],
  },
  /** `cvm devices`, `cvm sweep` */
  operator: {
    cert: ['DeleteCertificate', 'DescribeCertificate', 'DetachPolicy', 'ListAttachedPolicies', 'UpdateCertificate'],
    thing: ['DeleteThing'],
    thinggroup: [],
    any: ['DetachThingPrincipal', 'ListCertificates', 'ListPrincipalThings'],
    policy: [],
    table: ['DeleteItem', 'GetItem', 'PutItem', 'Scan', 'UpdateItem'],
  },
  /** `cvm aws setup` */
  setup: {
    cert: [],
    thing: [],
    thinggroup: [],
    any: [],
    policy: ['CreatePolicy', 'GetPolicy'],
    table: ['CreateTable', 'DescribeTable'],
  },
} as const;

export type IamRole = keyof typeof actions;
export const iamRoles = Object.keys(actions) as IamRole[];

type Statement = { Sid: string; Effect: 'Allow'; Action: string[]; Resource: string[] };

/**
 * The least-privilege IAM policy of these roles.
 * @param scope region and account may be "*", where they are not known
 */
export function iamPolicy(
  roles: readonly IamRole[],
  scope: { partition: string; region: string; account: string; table: string; policyName: string },
): { Version: string; Statement: Statement[] } {
  const { partition, region, account, table, policyName } = scope;
  const iot = (resource: string) => `arn:${partition}:iot:${region}:${account}:${resource}`;
  const kinds = {
    cert: ['cert/*'],
    thing: ['thing/*'],
    thinggroup: ['thinggroup/*'],
    // the shared one, and those that rows name are attached to certificates, which is what AttachPolicy asks for
    policy: [`policy/${policyName}`],
  } as const;
  const of = (kind: keyof (typeof actions)['gateway']) =>
    [...new Set(roles.flatMap((role): readonly string[] => actions[role][kind]))].sort();
  const statement = (sid: string, service: string, names: readonly string[], resources: string[]): Statement[] =>
    names.length === 0
      ? []
      : [{ Sid: sid, Effect: 'Allow', Action: names.map((name) => `${service}:${name}`), Resource: resources }];
  return {
    Version: '2012-10-17',
    Statement: [
      ...statement('Certificates', 'iot', of('cert'), kinds.cert.map(iot)),
      // adding a thing to a group needs both
      ...statement(
        'Things',
        'iot',
        of('thing'),
        [...kinds.thing, ...(of('thinggroup').length > 0 ? kinds.thinggroup : [])].map(iot),
      ),
      ...statement('Policy', 'iot', of('policy'), kinds.policy.map(iot)),
      ...statement('WithoutResource', 'iot', of('any'), ['*']),
      ...statement('Table', 'dynamodb', of('table'), [`arn:${partition}:dynamodb:${region}:${account}:table/${table}`]),
    ],
  };
}

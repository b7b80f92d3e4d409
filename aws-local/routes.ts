import type { Operation } from './account.ts';
import * as certificates from './certificates.ts';
import { refuse } from './errors.ts';
import * as indexing from './fleet-indexing.ts';
import * as policies from './policies.ts';
import * as principals from './principals.ts';
import { RegisterThing } from './register-thing.ts';
import * as aliases from './role-aliases.ts';
import * as groups from './thing-groups.ts';
import * as things from './things.ts';

/** Method, path, operation and the members that it requires besides those of the path, as in AWS's service model; `{name}` is a path parameter. */
const table: readonly (readonly [string, string, string, Operation, ...required: string[]])[] = [
  ['POST', '/keys-and-certificate', 'CreateKeysAndCertificate', certificates.CreateKeysAndCertificate],
  [
    'POST',
    '/certificates',
    'CreateCertificateFromCsr',
    certificates.CreateCertificateFromCsr,
    'certificateSigningRequest',
  ],
  ['GET', '/certificates', 'ListCertificates', certificates.ListCertificates],
  ['GET', '/certificates/{certificateId}', 'DescribeCertificate', certificates.DescribeCertificate],
  ['PUT', '/certificates/{certificateId}', 'UpdateCertificate', certificates.UpdateCertificate, 'newStatus'],
  ['DELETE', '/certificates/{certificateId}', 'DeleteCertificate', certificates.DeleteCertificate],
  ['POST', '/indexing/config', 'UpdateIndexingConfiguration', indexing.UpdateIndexingConfiguration],
  ['GET', '/endpoint', 'DescribeEndpoint', certificates.DescribeEndpoint],
  ['GET', '/policies', 'ListPolicies', policies.ListPolicies],
  ['POST', '/policies/{policyName}', 'CreatePolicy', policies.CreatePolicy, 'policyDocument'],
  ['GET', '/policies/{policyName}', 'GetPolicy', policies.GetPolicy],
  ['DELETE', '/policies/{policyName}', 'DeletePolicy', policies.DeletePolicy],
  ['POST', '/policies/{policyName}/version', 'CreatePolicyVersion', policies.CreatePolicyVersion, 'policyDocument'],
  ['GET', '/policies/{policyName}/version', 'ListPolicyVersions', policies.ListPolicyVersions],
  ['GET', '/policies/{policyName}/version/{policyVersionId}', 'GetPolicyVersion', policies.GetPolicyVersion],
  [
    'PATCH',
    '/policies/{policyName}/version/{policyVersionId}',
    'SetDefaultPolicyVersion',
    policies.SetDefaultPolicyVersion,
  ],
  ['DELETE', '/policies/{policyName}/version/{policyVersionId}', 'DeletePolicyVersion', policies.DeletePolicyVersion],
  ['PUT', '/target-policies/{policyName}', 'AttachPolicy', policies.AttachPolicy, 'target'],
  ['POST', '/target-policies/{policyName}', 'DetachPolicy', policies.DetachPolicy, 'target'],
  ['POST', '/attached-policies/{target}', 'ListAttachedPolicies', policies.ListAttachedPolicies],
  ['POST', '/policy-targets/{policyName}', 'ListTargetsForPolicy', policies.ListTargetsForPolicy],
  ['POST', '/role-aliases/{roleAlias}', 'CreateRoleAlias', aliases.CreateRoleAlias, 'roleArn'],
  ['GET', '/role-aliases/{roleAlias}', 'DescribeRoleAlias', aliases.DescribeRoleAlias],
  ['DELETE', '/role-aliases/{roleAlias}', 'DeleteRoleAlias', aliases.DeleteRoleAlias],
  ['POST', '/things', 'RegisterThing', RegisterThing, 'templateBody'],
  ['GET', '/things', 'ListThings', things.ListThings],
  ['POST', '/things/{thingName}', 'CreateThing', things.CreateThing],
  ['GET', '/things/{thingName}', 'DescribeThing', things.DescribeThing],
  ['PATCH', '/things/{thingName}', 'UpdateThing', things.UpdateThing],
  ['DELETE', '/things/{thingName}', 'DeleteThing', things.DeleteThing],
  ['PUT', '/things/{thingName}/principals', 'AttachThingPrincipal', principals.AttachThingPrincipal, 'principal'],
  ['DELETE', '/things/{thingName}/principals', 'DetachThingPrincipal', principals.DetachThingPrincipal, 'principal'],
  ['POST', '/things/{thingName}/connectivity-data', 'GetThingConnectivityData', indexing.GetThingConnectivityData],
  ['GET', '/things/{thingName}/principals', 'ListThingPrincipals', principals.ListThingPrincipals],
  ['GET', '/things/{thingName}/principals-v2', 'ListThingPrincipalsV2', principals.ListThingPrincipalsV2],
  ['GET', '/principals/things', 'ListPrincipalThings', principals.ListPrincipalThings, 'principal'],
  ['GET', '/principals/things-v2', 'ListPrincipalThingsV2', principals.ListPrincipalThingsV2, 'principal'],
  ['GET', '/things/{thingName}/thing-groups', 'ListThingGroupsForThing', groups.ListThingGroupsForThing],
  ['POST', '/thing-types/{thingTypeName}', 'CreateThingType', groups.CreateThingType],
  ['GET', '/thing-types/{thingTypeName}', 'DescribeThingType', groups.DescribeThingType],
  ['POST', '/thing-types/{thingTypeName}/deprecate', 'DeprecateThingType', groups.DeprecateThingType],
  ['PUT', '/thing-groups/addThingToThingGroup', 'AddThingToThingGroup', groups.AddThingToThingGroup],
  ['PUT', '/thing-groups/removeThingFromThingGroup', 'RemoveThingFromThingGroup', groups.RemoveThingFromThingGroup],
  ['POST', '/thing-groups/{thingGroupName}', 'CreateThingGroup', groups.CreateThingGroup],
  ['GET', '/thing-groups/{thingGroupName}', 'DescribeThingGroup', groups.DescribeThingGroup],
  ['GET', '/thing-groups/{thingGroupName}/things', 'ListThingsInThingGroup', groups.ListThingsInThingGroup],
];

const routes = table.map(([method, path, name, operation, ...required]) => ({
  method,
  name,
  operation,
  required,
  pattern: new RegExp(`^${path.replace(/\{(\w+)\}/g, '(?<$1>[^/]+)')}$`),
}));

/** The operations that are here. */
export const operationNames: readonly string[] = table.map(([, , name]) => name);

/** The operation of a request, with its path parameters; undefined when there is none. @throws InvalidRequestException */
export function route(
  method: string,
  path: string,
): { name: string; operation: Operation; required: string[]; parameters: Record<string, string> } | undefined {
  for (const { pattern, name, operation, required, ...candidate } of routes) {
    const match = candidate.method === method ? pattern.exec(path) : null;
    if (match === null) continue;
    const parameters = Object.fromEntries(
      Object.entries(match.groups ?? {}).map(([key, value]) => [key, decoded(key, value)]),
    );
    return { name, operation, required, parameters };
  }
  return undefined;
}

function decoded(parameter: string, value: string): string {
  try {
    return decodeURIComponent(value);
  } catch {
    return refuse('InvalidRequestException', `Value at '${parameter}' is not percent-encoded UTF-8`);
  }
}

import type { Operation } from './account.ts';
import * as certificates from './certificates.ts';
import * as policies from './policies.ts';
import { RegisterThing } from './register-thing.ts';
import * as things from './things.ts';

/** Method, path and operation, as in AWS's service model; `{name}` is a path parameter. */
const table: readonly [string, string, string, Operation][] = [
  ['POST', '/keys-and-certificate', 'CreateKeysAndCertificate', certificates.CreateKeysAndCertificate],
  ['POST', '/certificates', 'CreateCertificateFromCsr', certificates.CreateCertificateFromCsr],
  ['GET', '/certificates', 'ListCertificates', certificates.ListCertificates],
  ['GET', '/certificates/{certificateId}', 'DescribeCertificate', certificates.DescribeCertificate],
  ['PUT', '/certificates/{certificateId}', 'UpdateCertificate', certificates.UpdateCertificate],
  ['DELETE', '/certificates/{certificateId}', 'DeleteCertificate', certificates.DeleteCertificate],
  ['GET', '/endpoint', 'DescribeEndpoint', certificates.DescribeEndpoint],
  ['GET', '/policies', 'ListPolicies', policies.ListPolicies],
  ['POST', '/policies/{policyName}', 'CreatePolicy', policies.CreatePolicy],
  ['GET', '/policies/{policyName}', 'GetPolicy', policies.GetPolicy],
  ['DELETE', '/policies/{policyName}', 'DeletePolicy', policies.DeletePolicy],
  ['POST', '/policies/{policyName}/version', 'CreatePolicyVersion', policies.CreatePolicyVersion],
  ['GET', '/policies/{policyName}/version', 'ListPolicyVersions', policies.ListPolicyVersions],
  ['DELETE', '/policies/{policyName}/version/{policyVersionId}', 'DeletePolicyVersion', policies.DeletePolicyVersion],
  ['PUT', '/target-policies/{policyName}', 'AttachPolicy', policies.AttachPolicy],
  ['POST', '/target-policies/{policyName}', 'DetachPolicy', policies.DetachPolicy],
  ['POST', '/attached-policies/{target}', 'ListAttachedPolicies', policies.ListAttachedPolicies],
  ['POST', '/policy-targets/{policyName}', 'ListTargetsForPolicy', policies.ListTargetsForPolicy],
  ['POST', '/things', 'RegisterThing', RegisterThing],
  ['GET', '/things', 'ListThings', things.ListThings],
  ['POST', '/things/{thingName}', 'CreateThing', things.CreateThing],
  ['GET', '/things/{thingName}', 'DescribeThing', things.DescribeThing],
  ['PATCH', '/things/{thingName}', 'UpdateThing', things.UpdateThing],
  ['DELETE', '/things/{thingName}', 'DeleteThing', things.DeleteThing],
  ['PUT', '/things/{thingName}/principals', 'AttachThingPrincipal', things.AttachThingPrincipal],
  ['DELETE', '/things/{thingName}/principals', 'DetachThingPrincipal', things.DetachThingPrincipal],
  ['GET', '/things/{thingName}/principals', 'ListThingPrincipals', things.ListThingPrincipals],
  ['GET', '/principals/things', 'ListPrincipalThings', things.ListPrincipalThings],
  ['GET', '/things/{thingName}/thing-groups', 'ListThingGroupsForThing', things.ListThingGroupsForThing],
  ['POST', '/thing-types/{thingTypeName}', 'CreateThingType', things.CreateThingType],
  ['GET', '/thing-types/{thingTypeName}', 'DescribeThingType', things.DescribeThingType],
  ['PUT', '/thing-groups/addThingToThingGroup', 'AddThingToThingGroup', things.AddThingToThingGroup],
  ['PUT', '/thing-groups/removeThingFromThingGroup', 'RemoveThingFromThingGroup', things.RemoveThingFromThingGroup],
  ['POST', '/thing-groups/{thingGroupName}', 'CreateThingGroup', things.CreateThingGroup],
  ['GET', '/thing-groups/{thingGroupName}', 'DescribeThingGroup', things.DescribeThingGroup],
];

const routes = table.map(([method, path, name, operation]) => ({
  method,
  name,
  operation,
  pattern: new RegExp(`^${path.replace(/\{(\w+)\}/g, '(?<$1>[^/]+)')}$`),
}));

/** The operation of a request, with its path parameters; undefined when there is none. */
export function route(
  method: string,
  path: string,
): { name: string; operation: Operation; parameters: Record<string, string> } | undefined {
  for (const { pattern, name, operation, ...candidate } of routes) {
    const match = candidate.method === method ? pattern.exec(path) : null;
    if (match === null) continue;
    const parameters = Object.fromEntries(
      Object.entries(match.groups ?? {}).map(([key, value]) => [key, decodeURIComponent(value)]),
    );
    return { name, operation, parameters };
  }
  return undefined;
}

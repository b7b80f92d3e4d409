import { ignoreNotFound } from './expected-errors.ts';
import { statusOf } from './iot-answers.ts';
import type { IotCalls } from './iot-calls.ts';
import type { CertificateSummary } from './issuer.ts';

/** All certificates of the account, newest first. */
export async function* listCertificates(iot: Pick<IotCalls, 'listCertificates'>): AsyncIterable<CertificateSummary> {
  let marker: string | undefined;
  do {
    const page = await iot.listCertificates({ pageSize: 250, ascendingOrder: false, marker });
    for (const { certificateId, status, creationDate } of page.certificates ?? [])
      if (certificateId !== undefined)
        yield { certificateId, status: statusOf(status), createdAt: creationDate?.getTime() ?? 0 };
    marker = page.nextMarker || undefined;
  } while (marker !== undefined);
}

/** The policies of a certificate; none when it is not there. @param target its ARN */
export async function attachedPolicies(
  iot: Pick<IotCalls, 'listAttachedPolicies'>,
  target: string,
): Promise<readonly string[]> {
  const names: string[] = [];
  let marker: string | undefined;
  do {
    const page = await iot.listAttachedPolicies({ target, marker }).catch(ignoreNotFound);
    names.push(...(page?.policies ?? []).flatMap(({ policyName }) => policyName ?? []));
    marker = page?.nextMarker || undefined;
  } while (marker !== undefined);
  return names;
}

/** The ids of the certificates of a thing; undefined when there is no such thing. Other principals, such as Cognito identities, are left out. */
export async function attachedCertificates(
  iot: Pick<IotCalls, 'listThingPrincipals'>,
  thingName: string,
): Promise<readonly string[] | undefined> {
  const principals = await attachedPrincipals(iot, thingName);
  return principals?.flatMap((arn) => /:cert\/(\w+)$/.exec(arn)?.[1] ?? []);
}

/** The ARNs and ids of all that a thing is attached to; undefined when there is no such thing. */
export async function attachedPrincipals(
  iot: Pick<IotCalls, 'listThingPrincipals'>,
  thingName: string,
): Promise<readonly string[] | undefined> {
  const all: string[] = [];
  let nextToken: string | undefined;
  do {
    const page = await iot.listThingPrincipals({ thingName, nextToken }).catch(ignoreNotFound);
    if (page === undefined) return undefined;
    all.push(...(page.principals ?? []));
    nextToken = page.nextToken || undefined;
  } while (nextToken !== undefined);
  return all;
}

/** The things of a certificate; none when it is not there. @param principal its ARN */
export async function attachedThings(
  iot: Pick<IotCalls, 'listPrincipalThings'>,
  principal: string,
): Promise<readonly string[]> {
  const names: string[] = [];
  let nextToken: string | undefined;
  do {
    const page = await iot.listPrincipalThings({ principal, nextToken }).catch(ignoreNotFound);
    names.push(...(page?.things ?? []));
    nextToken = page?.nextToken || undefined;
  } while (nextToken !== undefined);
  return names;
}

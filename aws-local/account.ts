import { randomUUID } from 'node:crypto';
import { arnIn, type Place, resourceOf } from './arn.ts';
import type { Authority } from './certificate-authority.ts';
import { refuse } from './errors.ts';
import type { KeyPool } from './key-pool.ts';
import type { Certificate, Store } from './store.ts';

/** The account's state, as every operation needs it. */
export type Account = {
  readonly store: Store;
  readonly authority: Authority;
  readonly keys: KeyPool;
  readonly endpointAddress: string;
  /** milliseconds until a detached thing is seen as detached: AWS does it asynchronously */
  readonly detachMs: number;
  readonly place: Place;
  /** called when the status of a certificate changed, or it was deleted */
  readonly onCertificateChange: ((certificateId: string) => void)[];
};

/** The input of a call: path parameters, query, headers and body in one object, since their names never clash. `model.ts` has checked it. */
export type Input = {
  readonly [member in
    | 'attributeName'
    | 'attributeValue'
    | 'billingGroupName'
    | 'certificateSigningRequest'
    | 'endpointType'
    | 'marker'
    | 'nextToken'
    | 'parentGroupName'
    | 'thingArn'
    | 'thingGroupArn'
    | 'thingTypeName']?: string;
} & {
  readonly [member in
    | 'forceDelete'
    | 'isAscendingOrder'
    | 'removeThingType'
    | 'setAsActive'
    | 'setAsDefault'
    | 'undoDeprecate'
    | 'usePrefixAttributeValue']?: boolean;
} & {
  /** required wherever an operation reads them; AddThingToThingGroup may have ARNs instead of names */
  readonly [member in
    | 'certificateId'
    | 'newStatus'
    | 'policyDocument'
    | 'policyName'
    | 'policyVersionId'
    | 'principal'
    | 'roleAlias'
    | 'roleArn'
    | 'target'
    | 'templateBody'
    | 'thingGroupName'
    | 'thingName']: string;
} & {
  readonly attributePayload?: { readonly attributes?: Readonly<Record<string, string>>; readonly merge?: boolean };
  readonly credentialDurationSeconds?: number;
  readonly expectedVersion?: number;
  readonly maxResults?: number;
  readonly pageSize?: number;
  readonly parameters?: Readonly<Record<string, string>>;
  readonly thingGroupProperties?: object;
  readonly thingIndexingConfiguration?: {
    readonly thingIndexingMode?: string;
    readonly thingConnectivityIndexingMode?: string;
  };
  readonly thingPrincipalType?: string;
  readonly thingTypeProperties?: object;
};

export type Operation = (account: Account, input: Input) => unknown;

export const newId = (): string => randomUUID();
export const seconds = (): number => Date.now() / 1000;

export const arnOf = ({ place }: Account, resource: string): string => arnIn(place, resource);
export const certificateArn = (account: Account, certificateId: string): string =>
  arnOf(account, `cert/${certificateId}`);

/**
 * One page of a list. The token is a position: when the list changes between two pages, an item can be missed or come twice.
 * @throws InvalidRequestException for a token that no list gave
 */
export function page<T>(
  all: readonly T[],
  { maxResults, pageSize, nextToken, marker }: Input,
): { items: T[]; next: string | undefined } {
  const token = nextToken ?? marker ?? '';
  const start =
    token === '' ? 0 : Number(/^at:(\d+)$/.exec(Buffer.from(token, 'base64').toString())?.[1] ?? Number.NaN);
  if (!Number.isInteger(start)) refuse('InvalidRequestException', 'The pagination token is not valid');
  const end = start + (maxResults ?? pageSize ?? 25);
  const next = end < all.length ? Buffer.from(`at:${end}`).toString('base64') : undefined;
  return { items: all.slice(start, end), next };
}

/** @throws ResourceNotFoundException */
export function certificateOf({ store }: Account, certificateId: string): Certificate {
  return (
    store.get('certificate', certificateId.toLowerCase()) ??
    refuse('ResourceNotFoundException', `Certificate ${certificateId} does not exist`)
  );
}

/** The certificate that is a principal. Cognito identities, the other kind of principal, are not here. @throws as `resourceOf`, and ResourceNotFoundException */
export function principalOf(account: Account, arn: string): Certificate {
  return certificateOf(account, resourceOf(account.place, arn, ['cert']).name);
}

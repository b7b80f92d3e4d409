import { randomUUID } from 'node:crypto';
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
  arn(resource: string): string;
  /** called when the status of a certificate changed, or it was deleted */
  readonly onCertificateChange: ((certificateId: string) => void)[];
};

/** The input of a call: path parameters, query and body in one object, since their names never clash. */
export type Input = Readonly<Record<string, unknown>> & { readonly principal?: string };
export type Operation = (account: Account, input: Input) => unknown;

export const newId = (): string => randomUUID();
export const seconds = (): number => Date.now() / 1000;

const patterns = {
  thingName: /^[a-zA-Z0-9:_-]{1,128}$/,
  thingTypeName: /^[a-zA-Z0-9:_-]{1,128}$/,
  thingGroupName: /^[a-zA-Z0-9:_-]{1,128}$/,
  policyName: /^[\w+=,.@-]{1,128}$/,
  certificateId: /^(0x)?[a-fA-F0-9]{64}$/,
  policyVersionId: /^[0-9]+$/,
} as const;

/** A name that AWS's own rule for it allows. @throws InvalidRequestException */
export function named(input: Input, field: keyof typeof patterns): string {
  const value = input[field];
  if (typeof value === 'string' && patterns[field].test(value)) return value;
  return refuse(
    'InvalidRequestException',
    `Value at '${field}' failed to satisfy constraint: Member must satisfy regular expression pattern: ${patterns[field].source}`,
  );
}

export function text(input: Input, field: string): string | undefined {
  const value = input[field];
  return typeof value === 'string' && value !== '' ? value : undefined;
}

/** One page of a list. The token is a position: when the list changes between two pages, an item can be missed or come twice. */
export function page<T>(
  all: readonly T[],
  input: Input,
  sizeField: 'maxResults' | 'pageSize',
  tokenField: 'nextToken' | 'marker',
): { items: T[]; next: string | undefined } {
  const size = Number(input[sizeField] ?? 25);
  if (!Number.isInteger(size) || size < 1 || size > 250)
    refuse('InvalidRequestException', `Value at '${sizeField}' must be between 1 and 250`);
  const start = Number(text(input, tokenField) ?? 0);
  if (!Number.isInteger(start) || start < 0) refuse('InvalidRequestException', `Value at '${tokenField}' is not valid`);
  const end = start + size;
  return { items: all.slice(start, end), next: end < all.length ? String(end) : undefined };
}

/** The certificate of an ARN or id. @throws ResourceNotFoundException */
export function certificateOf(store: Store, arnOrId: string): Certificate {
  const certificateId = arnOrId.slice(arnOrId.lastIndexOf('/') + 1).toLowerCase();
  return (
    store.get('certificate', certificateId) ??
    refuse('ResourceNotFoundException', `Certificate ${certificateId} does not exist`)
  );
}

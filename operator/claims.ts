import type { ClaimCertificate, ClaimCertificates } from '../registry/claim-certificates.ts';
import type { OperatorDeps } from './deps.ts';

type Deps<Method extends keyof ClaimCertificates> = Pick<OperatorDeps, 'audit' | 'now'> & {
  readonly claims: Pick<ClaimCertificates, Method>;
};

export type NewClaim = Omit<ClaimCertificate, 'createdAt' | 'revokedAt' | 'served'>;

/** The name of a group of devices. */
const groupPattern = /^[A-Za-z0-9_-]{1,64}$/;
/** `*` and `?` beside what a serial may have. */
const serialsPattern = /^[A-Za-z0-9:_*?-]{1,128}$/;

/** Why there can be no claim certificate like this; empty where there can. `id` is not looked at. */
export function faultsOfClaim({ group, serials }: Pick<NewClaim, 'group' | 'serials'>): readonly string[] {
  return [
    ...(isGroup(group) ? [] : [groupRule]),
    ...(serialsPattern.test(serials)
      ? []
      : ['a pattern of serials has 1 to 128 of the characters A-Z a-z 0-9 : _ - and * (any characters) ? (one)']),
  ];
}

export const groupRule = 'the name of a group has 1 to 64 of the characters A-Z a-z 0-9 _ -';
export const isGroup = (name: string): boolean => groupPattern.test(name);

/** From now on the holders of this certificate may ask, within its limits. */
export async function addClaim(
  claim: NewClaim,
  { claims, audit, now }: Deps<'add'>,
): Promise<{ readonly outcome: 'added' | 'exists' }> {
  if (!(await claims.add({ ...claim, createdAt: now() }))) return { outcome: 'exists' };
  audit.record('claim-added', { claim: claim.id, group: claim.group });
  return { outcome: 'added' };
}

/** From now on they are refused. The certificates that devices have got stay: `block` and `remove` are for devices. */
export async function revokeClaim(
  id: string,
  { claims, audit, now }: Deps<'revoke'>,
): Promise<{ readonly outcome: 'revoked' | 'unknown' }> {
  if (!(await claims.revoke(id, now()))) return { outcome: 'unknown' };
  audit.record('claim-revoked', { claim: id });
  return { outcome: 'revoked' };
}

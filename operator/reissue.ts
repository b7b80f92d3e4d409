import { deletePending } from '../issuer/withdrawal.ts';
import { hashToken } from '../protocol/token.ts';
import type { Device } from '../registry/device.ts';
import { announce } from './announce.ts';
import type { OperatorDeps } from './deps.ts';
import { findIdle, noPatience, type Patience, type Refusal, untilItStands, urgentTries } from './device.ts';
import { type FollowUp, followUp } from './follow-up.ts';
import { expiryOf, storedTokenOf } from './stored-token.ts';
import { tokenFault } from './token-strength.ts';

export type ReissueOutcome =
  | ({ readonly outcome: 'reissued'; readonly token: string } & FollowUp)
  /** the token that was given cannot be taken */
  | { readonly outcome: 'invalid'; readonly reason: string }
  | Refusal;

export type ReissueOptions = {
  /** a token that the device has already; without it one is made */
  readonly token?: string | undefined;
  /** milliseconds from now until the new token ends; without it the token does not end */
  readonly tokenLifetimeMs?: number | undefined;
  /** with a worker that is provisioning the device; without it there is none */
  readonly patience?: Patience;
  /** Shows or keeps the new token. Called, and awaited, as soon as the token is valid and before anything else. */
  onToken(token: string): void | Promise<void>;
};

/**
 * Gives a device a new token and a new right to a certificate. The certificate in use works until the new one goes live;
 * one that had not gone live is deleted. The token is shown before that: the rest can take long and can fail, and the
 * token is stored nowhere. Repeating this makes another token, and the one before is void.
 */
export function reissue(serial: string, options: ReissueOptions, deps: OperatorDeps): Promise<ReissueOutcome> {
  const tries = options.patience?.force ? urgentTries : 1;
  return untilItStands(tries, () => reissueOnce(serial, options, deps));
}

async function reissueOnce(
  serial: string,
  { token: given, tokenLifetimeMs, patience = noPatience, onToken }: ReissueOptions,
  deps: OperatorDeps,
): Promise<ReissueOutcome> {
  const found = await findIdle(serial, deps, patience);
  if (found.outcome !== 'found') return found;
  const { device } = found;
  if (device.removal !== undefined) return { outcome: 'being-removed' };
  if (device.state === 'blocked') return { outcome: 'is-blocked' };
  if (device.state === 'unknown') return { outcome: 'state-unknown' };
  const reason = given === undefined ? undefined : givenFault(serial, given, device);
  if (reason !== undefined) return { outcome: 'invalid', reason };
  const token = given ?? deps.makeToken();
  const expiresAt = expiryOf(tokenLifetimeMs, deps.now());
  const decided = storedTokenOf(serial, token, { gateways: await deps.gateways(), site: device.site, expiresAt });
  if (!(await deps.registry.reissue(device, decided))) return { outcome: 'changed' };
  deps.audit.record('reissued', { serial });
  await onToken(token);
  const announcement = await announce([serial], deps, device.site);
  const rest = await followUp([() => deleteHalfDone(serial, deps)]);
  return { outcome: 'reissued', token, ...announcement, ...rest };
}

function givenFault(serial: string, token: string, { tokenHash }: Device): string | undefined {
  if (hashToken(token) === tokenHash) return 'this is the token that the device has now; a token vends one certificate';
  return tokenFault(token, { serial });
}

/** Deletes a certificate that had not gone live. */
async function deleteHalfDone(serial: string, deps: Pick<OperatorDeps, 'registry' | 'issuer'>): Promise<void> {
  const row = await deps.registry.find(serial);
  if (row?.pendingDeletion !== undefined) await deletePending(row, deps);
}

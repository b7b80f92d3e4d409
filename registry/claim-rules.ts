import { problems } from '../protocol/problems.ts';
import { sameHash } from '../protocol/token.ts';
import type { Claim, ClaimRequest, Device } from './registry.ts';

/**
 * What a claim comes to, given the row as it is; undefined when it may be taken. The one place where the rules stand:
 * the adapters' atomic conditions mirror them, and ask here only to name the reason.
 */
export function judgeClaim(
  device: Device | undefined,
  request: ClaimRequest,
): Exclude<Claim, { outcome: 'claimed' }> | undefined {
  if (!device || !sameHash(device.tokenHash, request.tokenHash))
    return { outcome: 'refused', problem: problems.invalidToken };
  if (device.state === 'blocked') return { outcome: 'refused', problem: problems.blocked };
  if (device.state === 'registered') return { outcome: 'registered', device };
  if (device.tokenExpiresAt !== undefined && device.tokenExpiresAt <= request.now)
    return { outcome: 'refused', problem: problems.tokenExpired };
  // whoever asks again for the same question took it over from one that died: the fence keeps off the dead
  const own = request.claimedBy !== undefined && device.claimedBy === request.claimedBy;
  if (device.state === 'provisioning' && !own && device.leaseUntil !== undefined && device.leaseUntil > request.now)
    return { outcome: 'busy', until: device.leaseUntil };
  return undefined;
}

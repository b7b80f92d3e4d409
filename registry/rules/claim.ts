import { problems } from '../../protocol/problems.ts';
import { sameHash } from '../../protocol/token.ts';
import type { Claim, ClaimRequest } from '../attempts.ts';
import type { Device } from '../device.ts';
import { isHeld, latestLeaseEnd, takeoverEnd } from '../lease.ts';
import { faultOf } from '../row-faults.ts';
import { all, any, type Condition } from '../rows.ts';
import { serves } from '../site.ts';
import { isServedAt, where } from './device-rows.ts';

/** The condition under which a claim takes effect. */
export function mayClaim(
  { tokenHash, now, leaseMs, site }: ClaimRequest,
  { claimedBy, claimId }: Required<Pick<Device, 'claimedBy' | 'claimId'>>,
): Condition<Device> {
  const free = any(
    where.isMissing('leaseUntil'),
    where.isAtMost('leaseUntil', now),
    where.isAbove('leaseUntil', latestLeaseEnd(now, leaseMs)),
    // a store may repeat a call whose answer was lost: it then takes up its own claim
    where.is({ claimId }),
    // a request that is worked on again takes over from a worker that died: the fence keeps the dead one off
    all(where.is({ claimedBy }), where.isAtMost('leaseUntil', takeoverEnd(now, leaseMs))),
  );
  return all(
    where.is({ tokenHash }),
    isServedAt(site),
    any(where.isMissing('tokenExpiresAt'), where.isAbove('tokenExpiresAt', now)),
    any(where.is({ state: 'enrolled' }), all(where.is({ state: 'provisioning' }), free)),
  );
}

/** Names the reason why a claim did not take effect, by the same rules; undefined when the row has changed meanwhile. */
export function judgeClaim(
  device: Device | undefined,
  request: ClaimRequest,
): Exclude<Claim, { outcome: 'claimed' }> | undefined {
  // a device of another site is as unknown as one that is not there
  if (!device || !serves(request.site, device.site) || !sameHash(device.tokenHash, request.tokenHash))
    return { outcome: 'refused', problem: problems.invalidToken };
  if (device.state === 'blocked') return { outcome: 'refused', problem: problems.blocked };
  const fault = faultOf(device);
  if (fault !== undefined) return { outcome: 'refused', problem: problems.rowNeedsOperator, fault };
  if (device.state === 'registered') return { outcome: 'registered', device };
  if (device.tokenExpiresAt !== undefined && device.tokenExpiresAt <= request.now)
    return { outcome: 'refused', problem: problems.tokenExpired };
  const { leaseUntil = 0 } = device;
  const { now, leaseMs, claimedBy } = request;
  const mayTakeOver =
    claimedBy !== undefined && device.claimedBy === claimedBy && leaseUntil <= takeoverEnd(now, leaseMs);
  if (device.state === 'provisioning' && !mayTakeOver && isHeld(leaseUntil, now, leaseMs))
    return { outcome: 'busy', until: leaseUntil };
  return undefined;
}

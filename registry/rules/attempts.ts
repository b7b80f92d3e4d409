import type { Attempts, ClaimRequest } from '../attempts.ts';
import { beyondLimit, intentOf } from '../create-intents.ts';
import type { AttemptRef, Device } from '../device.ts';
import { all, any, type Condition } from '../rows.ts';
import { holderOf, type KeyedRows, writeBinding } from './bound-keys.ts';
import { judgeClaim, mayClaim } from './claim.ts';
import { forgetting, noting } from './create-intents.ts';
import { isServedAt, noLease, where } from './device-rows.ts';

/** The fence: an attempt may write only while it is the latest and the device is being provisioned. */
const isCurrent = ({ claimId }: AttemptRef): Condition<Device> => where.is({ state: 'provisioning', claimId });

/** @param makeId makes an id that no claim ever had */
export function createAttempts(store: KeyedRows, makeId: () => string): Attempts {
  const { devices } = store;
  /** Each claim may add an intent that no worker ever clears, so a row forgets the oldest ones. */
  async function withinLimit(device: Device): Promise<Device> {
    const surplus = beyondLimit(device);
    if (surplus.length > 0) await devices.update(device.serial, forgetting(surplus), isCurrent(device));
    return device;
  }

  return {
    async claim(request) {
      const claim = { claimedBy: request.claimedBy ?? makeId(), claimId: makeId() };
      const device = await devices.updateAndGet(
        request.serial,
        { ...beginning(request, claim), increase: { attempt: 1 } },
        mayClaim(request, claim),
      );
      if (device !== undefined) return { outcome: 'claimed', device: await withinLimit(device) };
      // read in any case: an answer that came sooner would tell that there is no such serial
      return judgeClaim(await devices.find(request.serial), request) ?? { outcome: 'busy', until: request.now };
    },

    async keyHolder(keyDigest) {
      const holder = await holderOf(keyDigest, store);
      return holder?.isEnrolled ? holder.serial : undefined;
    },

    recordCreateIntent: (ref, intent) =>
      devices.update(ref.serial, { include: noting(intentOf(ref, intent)) }, isCurrent(ref)),

    async recordCertificate(ref, { certificateId, keptReply, keyDigest, template, settled = [] }) {
      const { serial: key } = ref;
      const update = { set: { certificateId, keptReply, keyDigest, template }, ...forgetting(settled) };
      const condition = all(
        isCurrent(ref),
        where.excludes('pendingDeletion', certificateId),
        where.excludes('deleted', certificateId),
      );
      if (keyDigest !== undefined) {
        const outcome = await writeBinding({ key, update, condition, keyDigest }, store);
        return outcome === 'written' ? 'recorded' : outcome === 'refused' ? 'overtaken' : outcome;
      }
      return (await devices.update(key, update, condition)) ? 'recorded' : 'overtaken';
    },

    discardCertificate: (ref, certificateId) =>
      devices.update(
        ref.serial,
        {
          set: { certificateId: undefined, keptReply: undefined, keyDigest: undefined, template: undefined },
          include: { pendingDeletion: [certificateId] },
        },
        // a repeated call finds it marked already
        all(isCurrent(ref), any(where.is({ certificateId }), where.includes('pendingDeletion', certificateId))),
      ),

    finish: ({ serial, claimId }, certificateId, now, settled = []) =>
      devices.update(
        serial,
        {
          set: {
            state: 'registered',
            ...noLease,
            previousCertificateId: undefined,
            mayHaveOthers: undefined,
            ownKey: undefined,
          },
          setIfMissing: { issuedAt: now },
          ...forgetting(settled),
        },
        // a repeated call finds the device registered already
        all(
          any(where.is({ state: 'provisioning' }), where.is({ state: 'registered' })),
          where.is({ claimId, certificateId }),
        ),
      ),

    release: (ref, settled = []) =>
      devices.update(
        ref.serial,
        { set: { state: 'enrolled', ...noLease, claimId: undefined }, ...forgetting(settled) },
        isCurrent(ref),
      ),

    async reopen({ serial, attempt, claimId }, request) {
      const { set, ...begin } = beginning(request, {
        claimedBy: request.claimedBy ?? makeId(),
        claimId: makeId(),
      });
      const device = await devices.updateAndGet(
        serial,
        { set: { ...set, attempt: attempt + 1, issuedAt: undefined }, ...begin },
        all(
          where.is({ state: 'registered', attempt, claimId, deliveredAt: undefined, keptReply: undefined }),
          isServedAt(request.site),
        ),
      );
      return device === undefined ? { outcome: 'busy', until: request.now } : { outcome: 'claimed', device };
    },

    acknowledge: (serial, tokenHash, certificateId, now, site) =>
      devices.update(
        serial,
        { set: { keptReply: undefined }, setIfMissing: { deliveredAt: now } },
        all(where.is({ state: 'registered', tokenHash, certificateId }), isServedAt(site)),
      ),
  };
}

function beginning({ now, leaseMs, intends }: ClaimRequest, claim: Required<Pick<Device, 'claimedBy' | 'claimId'>>) {
  const { ownKey, ...key } = intends ?? {};
  return {
    set: { state: 'provisioning', requestedAt: now, leaseUntil: now + leaseMs, ...claim, deleted: undefined },
    ...(ownKey && { setIfMissing: { ownKey } }),
    ...(intends && { include: noting(intentOf(claim, { at: now, ...key })) }),
  } as const;
}

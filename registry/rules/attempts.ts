import type { Attempts, ClaimRequest } from '../attempts.ts';
import type { AttemptRef, CreateIntent, Device, OwnKey } from '../device.ts';
import { all, any, type Condition, type Rows } from '../rows.ts';
import { type BoundKey, bindKey } from './bound-keys.ts';
import { judgeClaim, mayClaim } from './claim.ts';
import { createIntentsLimit, oldestBeyondLimit } from './create-intents.ts';
import { type DeviceRows, noLease, where } from './device-rows.ts';

/** The fence: an attempt may write only while it is the latest and the device is being provisioned. */
const isCurrent = ({ claimId }: AttemptRef): Condition<Device> => where.is({ state: 'provisioning', claimId });

/** @param makeId makes an id that no claim ever had */
export function createAttempts(devices: DeviceRows, keys: Rows<BoundKey>, makeId: () => string): Attempts {
  return {
    async claim(request) {
      const claim = { claimedBy: request.claimedBy ?? makeId(), claimId: makeId() };
      const device = await devices.updateAndGet(
        request.serial,
        { ...beginning(request, claim), increase: { attempt: 1 } },
        mayClaim(request, claim),
      );
      if (device !== undefined) return { outcome: 'claimed', device };
      // read in any case: an answer that came sooner would tell that there is no such serial
      return judgeClaim(await devices.find(request.serial), request) ?? { outcome: 'busy', until: request.now };
    },

    bindKey: (serial, keyDigest) => bindKey(serial, keyDigest, { keys, devices }),

    async recordCreateIntent(ref, intent, ownKey) {
      const { serial, attempt } = ref;
      const hasRoom = where.hasFewerThan(createIntentsLimit, 'createIntents');
      const recorded = await devices.update(
        serial,
        recording(ownKey, { [attempt]: intent }),
        all(isCurrent(ref), hasRoom),
      );
      if (recorded) return true;
      const dropped = oldestBeyondLimit((await devices.find(serial))?.createIntents);
      if (dropped === undefined) return false;
      const entries = { [dropped]: undefined, [attempt]: intent };
      return devices.update(serial, recording(ownKey, entries), isCurrent(ref));
    },

    recordCertificate: (ref, { certificateId, keptReply, keyDigest, createdBy }) =>
      devices.update(
        ref.serial,
        {
          set: { certificateId, keptReply, keyDigest },
          setEntries: { createIntents: createdBy === undefined ? {} : { [createdBy]: undefined } },
        },
        all(isCurrent(ref), where.excludes('pendingDeletion', certificateId), where.excludes('deleted', certificateId)),
      ),

    discardCertificate: (ref, certificateId) =>
      devices.update(
        ref.serial,
        {
          set: { certificateId: undefined, keptReply: undefined, keyDigest: undefined },
          include: { pendingDeletion: [certificateId] },
        },
        // a repeated call finds it marked already
        all(isCurrent(ref), any(where.is({ certificateId }), where.includes('pendingDeletion', certificateId))),
      ),

    finish: ({ serial, claimId }, certificateId, now) =>
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
        },
        // a repeated call finds the device registered already
        all(
          any(where.is({ state: 'provisioning' }), where.is({ state: 'registered' })),
          where.is({ claimId, certificateId }),
        ),
      ),

    release: (ref, nothingMade = false) =>
      devices.update(
        ref.serial,
        {
          set: { state: 'enrolled', ...noLease, claimId: undefined },
          setEntries: { createIntents: nothingMade ? { [ref.attempt]: undefined } : {} },
        },
        isCurrent(ref),
      ),

    async reopen({ serial, attempt, claimId }, request) {
      const { set, setIfMissing } = beginning(request, {
        claimedBy: request.claimedBy ?? makeId(),
        claimId: makeId(),
      });
      const device = await devices.updateAndGet(
        serial,
        { set: { ...set, attempt: attempt + 1, issuedAt: undefined }, setIfMissing },
        where.is({ state: 'registered', attempt, claimId, deliveredAt: undefined, keptReply: undefined }),
      );
      return device === undefined ? { outcome: 'busy', until: request.now } : { outcome: 'claimed', device };
    },

    acknowledge: (serial, tokenHash, certificateId, now) =>
      devices.update(
        serial,
        { set: { keptReply: undefined }, setIfMissing: { deliveredAt: now } },
        where.is({ state: 'registered', tokenHash, certificateId }),
      ),
  };
}

function beginning({ now, leaseMs }: ClaimRequest, claim: Required<Pick<Device, 'claimedBy' | 'claimId'>>) {
  return {
    set: { state: 'provisioning', requestedAt: now, leaseUntil: now + leaseMs, ...claim, deleted: undefined },
    // the attempt will set an entry in it
    setIfMissing: { createIntents: {} },
  } as const;
}

function recording(ownKey: OwnKey | undefined, createIntents: Record<string, CreateIntent | undefined>) {
  return { ...(ownKey && { set: { ownKey } }), setEntries: { createIntents } };
}

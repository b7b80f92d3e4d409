import type { Deletions } from '../deletions.ts';
import type { Device } from '../device.ts';
import { all } from '../rows.ts';
import { hasNoIntents } from './create-intents.ts';
import { type DeviceRows, isAsRead, unlessRemoved, where } from './device-rows.ts';
import { confirmed } from './lost-answer.ts';

/** Far longer than a sweep may be away: a worker that was frozen may make the thing again. Milliseconds. */
const forgottenMs = 365 * 86_400_000;

export function createDeletions(devices: DeviceRows): Deletions {
  return {
    async markForDeletion(serial, certificateId) {
      const marked = await devices.update(
        serial,
        { include: { pendingDeletion: [certificateId] } },
        all(
          where.isNot('certificateId', certificateId),
          where.isNot('previousCertificateId', certificateId),
          where.isMissing('removedAt'),
        ),
      );
      if (marked) return 'marked';
      return unlessRemoved(await devices.find(serial)) === undefined ? 'no-row' : 'in-use';
    },

    async confirmDeleted(serial, certificateId) {
      const update = { include: { deleted: [certificateId] }, exclude: { pendingDeletion: [certificateId] } };
      await devices.update(serial, update, where.isMissing('removedAt'));
    },

    remove(device, now) {
      const { serial } = device;
      const mayGo = all(isAsRead(device), where.isMissing('pendingDeletion'), hasNoIntents);
      if (device.removal !== 'with-thing') return devices.remove(serial, mayGo);
      return confirmed(
        () =>
          devices.update(
            serial,
            { set: { ...remains, removedAt: now, forgetAt: Math.ceil((now + forgottenMs) / 1000) } },
            mayGo,
          ),
        async () => (await devices.find(serial))?.removedAt === now,
      );
    },
  };
}

/** What stays of a removed device whose thing is to be gone, besides its site. For other tools it is the row of a blocked device. */
const remains: {
  readonly [P in keyof Required<
    Omit<Device, 'serial' | 'attempt' | 'removedAt' | 'forgetAt' | 'tokenForm' | 'site' | 'changedAt'>
  >]: Device[P] | undefined;
} = {
  tokenHash: 'removed',
  state: 'blocked',
  requestedAt: 0,
  enrolledAt: 0,
  removal: 'with-thing',
  claimId: undefined,
  claimedBy: undefined,
  leaseUntil: undefined,
  certificateId: undefined,
  keptReply: undefined,
  previousCertificateId: undefined,
  keyDigest: undefined,
  template: undefined,
  issuedAt: undefined,
  deliveredAt: undefined,
  tokenExpiresAt: undefined,
  sealedKeys: undefined,
  policyName: undefined,
  thingTypeName: undefined,
  thingGroupName: undefined,
  claimGroup: undefined,
  createIntents: undefined,
  numberedIntents: undefined,
  ownKey: undefined,
  pendingDeletion: undefined,
  deleted: undefined,
  mayHaveOthers: undefined,
  seenAt: undefined,
  lookedAt: undefined,
};

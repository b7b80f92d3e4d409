import type { Reconciliation } from '../reconciliation.ts';
import { forgetting } from './create-intents.ts';
import { type DeviceRows, endOfAttempt, idsOf, isAsRead, noCertificate, where } from './device-rows.ts';

export function createReconciliation(devices: DeviceRows): Reconciliation {
  return {
    listAll: () => devices.list(),

    forgetRemoved: ({ serial, removedAt }) =>
      removedAt === undefined ? Promise.resolve(false) : devices.remove(serial, where.is({ removedAt })),

    eraseKeptReply: (device) => devices.update(device.serial, { set: { keptReply: undefined } }, isAsRead(device)),

    abandonAttempt: (device) =>
      devices.update(
        device.serial,
        {
          set: {
            state: device.state === 'blocked' ? 'blocked' : 'enrolled',
            ...endOfAttempt(device),
            ...noCertificate,
          },
          include: { pendingDeletion: idsOf(device.certificateId) },
        },
        isAsRead(device),
      ),

    enterInIndex: ({ serial, site }, now) =>
      devices.update(serial, { set: { site, changedAt: now } }, where.is({ site, changedAt: undefined })),

    clearCreateIntents: async (device, intents) =>
      intents.length === 0 || devices.update(device.serial, forgetting(intents), isAsRead(device)),
  };
}

import type { Reconciliation } from '../reconciliation.ts';
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

    async clearCreateIntents(device, attempts) {
      if (attempts.length === 0) return true;
      const createIntents = Object.fromEntries(attempts.map((attempt) => [attempt, undefined]));
      return devices.update(device.serial, { setEntries: { createIntents } }, isAsRead(device));
    },
  };
}

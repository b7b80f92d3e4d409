import type { Decisions } from '../decisions.ts';
import { type DeviceRows, endOfAttempt, idsOf, isAsRead, noCertificate } from './device-rows.ts';

export function createDecisions(devices: DeviceRows): Decisions {
  return {
    block: (device) =>
      devices.update(
        device.serial,
        // `unblock` goes by `issuedAt`, and a row that another tool wrote has none
        { set: { state: 'blocked', ...endOfAttempt(device), issuedAt: device.issuedAt } },
        isAsRead(device),
      ),

    async unblock(device) {
      if (device.state !== 'blocked' || device.removal !== undefined) return false;
      const state = device.issuedAt === undefined ? 'enrolled' : 'registered';
      return devices.update(device.serial, { set: { state, ...endOfAttempt(device) } }, isAsRead(device));
    },

    reissue(device, { tokenHash, tokenExpiresAt, sealedKeys }) {
      const live = device.issuedAt !== undefined && device.certificateId !== undefined;
      return devices.update(
        device.serial,
        {
          set: {
            state: 'enrolled',
            tokenHash,
            tokenExpiresAt,
            sealedKeys,
            issuedAt: undefined,
            deliveredAt: undefined,
            ...endOfAttempt(device),
            ...noCertificate,
            previousCertificateId: live ? device.certificateId : device.previousCertificateId,
          },
          include: { pendingDeletion: live ? [] : idsOf(device.certificateId) },
        },
        isAsRead(device),
      );
    },

    retire: (device, removal) =>
      devices.update(
        device.serial,
        {
          set: {
            state: 'blocked',
            removal,
            ...endOfAttempt(device),
            ...noCertificate,
            previousCertificateId: undefined,
          },
          include: { pendingDeletion: idsOf(device.certificateId, device.previousCertificateId) },
        },
        isAsRead(device),
      ),
  };
}

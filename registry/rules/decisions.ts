import type { Decisions } from '../decisions.ts';
import type { Device } from '../device.ts';
import type { Update } from '../rows.ts';
import { type DeviceRows, endOfAttempt, idsOf, isAsRead, noCertificate } from './device-rows.ts';
import { confirmed } from './lost-answer.ts';

export function createDecisions(devices: DeviceRows): Decisions {
  /** @param isDone whether a row, one decision later than `device`, is as this decision leaves it */
  const decide = (device: Device, update: Update<Device>, isDone: (row: Device) => boolean): Promise<boolean> =>
    confirmed(
      () => devices.update(device.serial, update, isAsRead(device)),
      async () => {
        const row = await devices.find(device.serial);
        return row !== undefined && row.attempt === device.attempt + 1 && isDone(row);
      },
    );

  return {
    block: (device) =>
      decide(
        device,
        // `unblock` goes by `issuedAt`, and a row that another tool wrote has none
        { set: { state: 'blocked', ...endOfAttempt(device), issuedAt: device.issuedAt } },
        ({ state }) => state === 'blocked',
      ),

    async unblock(device) {
      if (device.state !== 'blocked' || device.removal !== undefined) return false;
      const state = device.issuedAt === undefined ? 'enrolled' : 'registered';
      return decide(device, { set: { state, ...endOfAttempt(device) } }, (row) => row.state === state);
    },

    reissue(device, { tokenHash, tokenExpiresAt, sealedKeys }) {
      const live = device.issuedAt !== undefined && device.certificateId !== undefined;
      return decide(
        device,
        {
          set: {
            state: 'enrolled',
            tokenHash,
            tokenExpiresAt,
            sealedKeys,
            issuedAt: undefined,
            deliveredAt: undefined,
            // whatever the thing has besides, as after the table was restored from a backup, is not to work beside the next one
            mayHaveOthers: true,
            ...endOfAttempt(device),
            ...noCertificate,
            previousCertificateId: live ? device.certificateId : device.previousCertificateId,
          },
          include: { pendingDeletion: live ? [] : idsOf(device.certificateId) },
        },
        (row) => row.tokenHash === tokenHash,
      );
    },

    move: (device, site) =>
      decide(
        device,
        {
          // the certificate of the attempt that ends stays in the row, where the next claim finds it
          set: { ...(device.state === 'provisioning' ? { state: 'enrolled' } : {}), ...endOfAttempt(device), site },
        },
        (row) => row.site === site,
      ),

    retire: (device, removal) =>
      decide(
        device,
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
        (row) => row.removal === removal,
      ),
  };
}

import type { Deletions } from '../deletions.ts';
import { all } from '../rows.ts';
import { type DeviceRows, isAsRead, where } from './device-rows.ts';

export function createDeletions(devices: DeviceRows): Deletions {
  return {
    async markForDeletion(serial, certificateId) {
      const marked = await devices.update(
        serial,
        { include: { pendingDeletion: [certificateId] } },
        all(where.isNot('certificateId', certificateId), where.isNot('previousCertificateId', certificateId)),
      );
      if (marked) return 'marked';
      return (await devices.find(serial)) === undefined ? 'no-row' : 'in-use';
    },

    async confirmDeleted(serial, certificateId) {
      const update = { include: { deleted: [certificateId] }, exclude: { pendingDeletion: [certificateId] } };
      await devices.update(serial, update);
    },

    remove: (device) =>
      devices.remove(
        device.serial,
        all(isAsRead(device), where.isMissing('pendingDeletion'), where.hasFewerThan(1, 'createIntents')),
      ),
  };
}

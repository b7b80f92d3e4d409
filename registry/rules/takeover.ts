import type { Takeover } from '../takeover.ts';
import { type DeviceRows, where } from './device-rows.ts';
import { addDevice } from './devices.ts';
import { confirmed } from './lost-answer.ts';

export function createTakeover(rows: DeviceRows): Takeover {
  return {
    takeOver: (device) => addDevice(rows, device),
    hashToken: ({ serial, certificateId }, stored, hashed) =>
      confirmed(
        () => rows.update(serial, { set: hashed }, where.is({ tokenHash: stored, certificateId })),
        async () => {
          const found = await rows.find(serial);
          return found?.tokenHash === hashed.tokenHash && found.tokenForm === undefined;
        },
      ),
  };
}

import type { Devices } from '../devices.ts';
import { any } from '../rows.ts';
import { type DeviceRows, isRemoved, unlessRemoved, where } from './device-rows.ts';
import { confirmed } from './lost-answer.ts';

export function createDevices(rows: DeviceRows): Devices {
  return {
    enrol: (enrolment) => {
      const { serial, tokenHash, enrolledAt } = enrolment;
      const row = { ...enrolment, state: 'enrolled', requestedAt: 0, attempt: 0 } as const;
      return confirmed(
        () => rows.put(serial, row, any(where.isMissing('serial'), isRemoved)),
        async () => {
          const found = await rows.find(serial);
          return found?.tokenHash === tokenHash && found.enrolledAt === enrolledAt;
        },
      );
    },
    find: async (serial) => unlessRemoved(await rows.find(serial)),
    async *list() {
      for await (const row of rows.list()) if (unlessRemoved(row) !== undefined) yield row;
    },
  };
}

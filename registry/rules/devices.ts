import type { Devices } from '../devices.ts';
import type { DeviceRows } from './device-rows.ts';
import { confirmed } from './lost-answer.ts';

export function createDevices(rows: DeviceRows): Devices {
  return {
    enrol: (enrolment) => {
      const { serial, tokenHash, enrolledAt } = enrolment;
      return confirmed(
        () => rows.add(serial, { ...enrolment, state: 'enrolled', requestedAt: 0, attempt: 0 }),
        async () => {
          const row = await rows.find(serial);
          return row?.tokenHash === tokenHash && row.enrolledAt === enrolledAt;
        },
      );
    },
    find: (serial) => rows.find(serial),
    list: () => rows.list(),
  };
}

import type { Devices } from '../devices.ts';
import type { DeviceRows } from './device-rows.ts';

export function createDevices(rows: DeviceRows): Devices {
  return {
    enrol: (enrolment) => rows.add(enrolment.serial, { ...enrolment, state: 'enrolled', requestedAt: 0, attempt: 0 }),
    find: (serial) => rows.find(serial),
    list: () => rows.list(),
  };
}

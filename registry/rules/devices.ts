import type { Device } from '../device.ts';
import type { Devices } from '../devices.ts';
import { any } from '../rows.ts';
import { type DeviceRows, isRemoved, unlessRemoved, where } from './device-rows.ts';
import { confirmed } from './lost-answer.ts';

export function createDevices(rows: DeviceRows): Devices {
  return {
    enrol: (enrolment) => addDevice(rows, { ...enrolment, state: 'enrolled', requestedAt: 0, attempt: 0 }),
    find: async (serial) => unlessRemoved(await rows.find(serial)),
    async *list() {
      for await (const row of rows.list()) if (unlessRemoved(row) !== undefined) yield row;
    },
  };
}

/** @returns false when the serial is there already */
export function addDevice(rows: DeviceRows, device: Device): Promise<boolean> {
  const { serial, tokenHash, enrolledAt } = device;
  return confirmed(
    () => rows.put(serial, device, any(where.isMissing('serial'), isRemoved)),
    async () => {
      const found = await rows.find(serial);
      return found?.tokenHash === tokenHash && found.enrolledAt === enrolledAt;
    },
  );
}

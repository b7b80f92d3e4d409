import type { Device, Enrolment } from './device.ts';

/** The rows of the association table, to add and to read. */
export interface Devices {
  /** Adds a device. False when the serial is there already; the row is then unchanged. Repeating it after its answer was lost is true. */
  enrol(enrolment: Enrolment): Promise<boolean>;
  find(serial: string): Promise<Device | undefined>;
  /** All devices, in no particular order, page by page. */
  list(): AsyncIterable<Device>;
}

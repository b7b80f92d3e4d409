import type { Device, Removal, StoredToken } from './device.ts';

/**
 * What an operator decides about a device. Each decision takes effect only while no other decision and no attempt was
 * written since the row was read, and answers false otherwise. It ends an attempt that is under way, which can
 * write nothing more. Repeating a decision after its answer was lost gives that answer again.
 */
export interface Decisions {
  block(device: Device): Promise<boolean>;
  /** Undoes `block`: the device is registered again when its certificate had gone live, and enrolled otherwise. */
  unblock(device: Device): Promise<boolean>;
  /**
   * Gives a new token and a new right to a certificate. The certificate that the device holds works until the new one
   * goes live; one that had not gone live is marked for deletion.
   */
  reissue(device: Device, token: StoredToken): Promise<boolean>;
  /** Gives the device to another site, or to none. It keeps its token and its certificate. An attempt under way at the old site ends. */
  move(device: Device, site: string | undefined): Promise<boolean>;
  /** The first step of removing a device: blocks it and marks its certificates for deletion. */
  retire(device: Device, removal: Removal): Promise<boolean>;
}

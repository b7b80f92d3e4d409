import type { CreateIntent, Device } from './device.ts';

/**
 * What the sweep decides about rows that no process works on any more. Each write takes effect only while no decision and
 * no attempt was written since the row was read, and answers false otherwise.
 */
export interface Reconciliation {
  /** All devices, and what is left of removed ones (`removedAt`), in no particular order, page by page. */
  listAll(): AsyncIterable<Device>;
  /** Forgets a removed device for good. */
  forgetRemoved(removed: Device): Promise<boolean>;
  /** Erases the kept reply of a device that may not ask for it any more. */
  eraseKeptReply(device: Device): Promise<boolean>;
  /**
   * Ends an attempt that died: it can write nothing more, its certificate is marked for deletion, and the device may ask again.
   * A blocked device stays blocked.
   */
  abandonAttempt(device: Device): Promise<boolean>;
  /**
   * Enters a row in the index of sites: another tool wrote it, or an earlier version. False when it is in it already.
   * @param now epoch milliseconds
   */
  enterInIndex(device: Pick<Device, 'serial' | 'site'>, now: number): Promise<boolean>;
  /** Notes that the certificates which these create calls may have left have been looked for. */
  clearCreateIntents(device: Device, intents: readonly CreateIntent[]): Promise<boolean>;
}

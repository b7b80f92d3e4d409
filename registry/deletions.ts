import type { Device } from './device.ts';

/**
 * Certificates are marked for deletion in their row before they are deleted, so that no attempt carries on with one that
 * is about to go. Repeating a call gives the same answer.
 */
export interface Deletions {
  /**
   * Marks a certificate that no row names as its own. A row that names it keeps it (`in-use`); otherwise no attempt of the
   * device can record it any more.
   */
  markForDeletion(serial: string, certificateId: string): Promise<'marked' | 'in-use' | 'no-row'>;
  /** Notes that a certificate is deleted. Until the next attempt begins it still cannot be recorded. */
  confirmDeleted(serial: string, certificateId: string): Promise<void>;
  /**
   * Deletes the row; where the thing goes as well, the sweep still sees that it was there. False when it is not as it was read,
   * when a certificate in it is marked for deletion, and when the outcome of a create call is not known.
   */
  remove(device: Device, now: number): Promise<boolean>;
}

import type { Device, StoredToken } from './device.ts';

/** What changes in a row whose token is hashed in place. */
export type HashedRow = StoredToken & Pick<Device, 'certificateId' | 'deliveredAt' | 'site'>;

/** Rows that another tool wrote, made ours. */
export interface Takeover {
  /**
   * Adds a device in the state in which another table has it. False when the serial is there already; the row is then unchanged.
   * Repeating it after its answer was lost is true.
   */
  takeOver(device: Device): Promise<boolean>;
  /**
   * Puts the hash in place of a token that the row has in another form. False when the row has not this token, or not this certificate,
   * any more.
   * @param stored the token as the row has it
   */
  hashToken(device: Device, stored: string, hashed: HashedRow): Promise<boolean>;
}

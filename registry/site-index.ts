import type { Device } from './device.ts';

/** What the index has of a device: what a gateway must know before the device asks. */
export type IndexedDevice = Pick<
  Device,
  | 'serial'
  | 'site'
  | 'tokenHash'
  | 'sealedKeys'
  | 'state'
  | 'requestedAt'
  | 'issuedAt'
  | 'deliveredAt'
  | 'tokenExpiresAt'
  | 'removedAt'
>;

/**
 * Finds the devices of a site without reading the whole table. The index follows the table within some seconds. A row that
 * another tool or an earlier version wrote is not in it until a sweep has entered it.
 */
export interface SiteIndex {
  /**
   * The devices of this site, those without a site, and what is left of removed ones (`removedAt`), in no particular order.
   * @param changedSince epoch milliseconds: only devices of which a gateway must know something new since then
   */
  list(site: string, changedSince?: number): AsyncIterable<IndexedDevice>;
  /** Whether a gateway with a site is known, and the table has the index. */
  isUsed(): Promise<boolean>;
}

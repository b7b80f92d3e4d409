/**
 * Announces which rows an operator has written, so that a gateway learns of a new token within seconds without reading the
 * whole table. The gateways of a site follow the announcements of their site, and those of devices that have none. This is no promise: a command may die between its write and its announcement, so a gateway reads the whole
 * table from time to time as well.
 */
export interface Changes {
  /** @param site of these devices; devices without one are announced to every gateway */
  announce(serials: readonly string[], site?: string): Promise<void>;
  /** Counts an announcement without serials. So the number also grows in a table where nothing is enrolled, and shows when that table was restored. */
  advance(): Promise<void>;
  /**
   * The number of the latest announcement of devices of this site, or of those without one; 0 before the first. Each site counts
   * for itself.
   */
  latest(site?: string): Promise<number>;
  /** As `latest`, at half its price: the answer may be one of a moment ago. */
  glance(site?: string): Promise<number>;
  /**
   * The serials of one announcement; `not-yet` between the two writes that an announcement takes, `overwritten` when it
   * is too long ago.
   */
  read(number: number, site?: string): Promise<readonly string[] | 'not-yet' | 'overwritten'>;
}

/**
 * Announces which rows an operator has written, so that a gateway learns of a new token within seconds without reading the
 * whole table. This is no promise: a command may die between its write and its announcement, so a gateway reads the whole
 * table from time to time as well.
 */
export interface Changes {
  announce(serials: readonly string[]): Promise<void>;
  /** Counts an announcement without serials. So the number also grows in a table where nothing is enrolled, and shows when that table was restored. */
  advance(): Promise<void>;
  /** The number of the latest announcement; 0 before the first. */
  latest(): Promise<number>;
  /**
   * The serials of one announcement; `not-yet` between the two writes that an announcement takes, `overwritten` when it
   * is too long ago.
   */
  read(number: number): Promise<readonly string[] | 'not-yet' | 'overwritten'>;
}

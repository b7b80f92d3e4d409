/**
 * Whether the table was restored from a backup. Rows that are older than that may not name every certificate that their device
 * has. Times are epoch milliseconds.
 */
export interface Restoration {
  note(now: number): Promise<void>;
  /** When the table was last found to be restored; undefined when it never was. */
  latest(): Promise<number | undefined>;
}

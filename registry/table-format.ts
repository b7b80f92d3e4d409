/** The form of the rows. Raised when an earlier version must not work on the table any more. */
export const tableFormat = 1;

export type FoundFormat = { readonly format: number /** the version that wrote it */; readonly by?: string };

/** Which form the rows of the table have. */
export interface TableFormat {
  /** The mark that is there; without one, it is `tableFormat`. */
  find(): Promise<FoundFormat>;
  /**
   * Marks a table with `tableFormat`, where it has no mark: a new one, or one of a version before 0.2.0, whose rows have the same form.
   * @param by the version that runs
   * @returns the mark that is there now: a higher number is of a later version
   */
  claim(by: string): Promise<FoundFormat>;
}

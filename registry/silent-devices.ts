/** A device that has its certificate, and has never connected with it. */
export type SilentDevice = {
  readonly serial: string;
  readonly site?: string;
  /** when its certificate went live; epoch milliseconds */
  readonly issuedAt: number;
};

/** What a sweep found of all devices of the table. */
export type SilentReport = {
  /** epoch milliseconds */
  readonly at: number;
  /** how many are silent */
  readonly count: number;
  /** how many have a certificate, and the issuer was not asked about them yet */
  readonly unasked: number;
  /** why the issuer cannot be asked now: cause and cure */
  readonly reason?: string | undefined;
  /** those that are silent for longest, oldest first; at most `listedAtMost` */
  readonly oldest: readonly SilentDevice[];
};

/** As many fit in a row of the table with room to spare, and are more truck rolls than a day has. */
export const listedAtMost = 1000;

/**
 * The latest report. It is one row of the table, so that no reader has to go through all devices, and every gateway and every command sees
 * the same.
 */
export interface SilentDevices {
  write(report: SilentReport): Promise<void>;
  /** undefined before the first */
  read(): Promise<SilentReport | undefined>;
}

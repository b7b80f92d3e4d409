/**
 * The directory: the devices that this gateway serves, in the order of their serials, for people who look for one. It decides nothing, and
 * all that is in it may be some seconds old. The row in the table is what counts.
 */

/** In the order in which a list shows devices of one serial; there is never more than one. */
export const directoryStates = ['enrolled', 'provisioning', 'registered', 'blocked', 'unknown'] as const;
export type DirectoryState = (typeof directoryStates)[number];

/** A device as the list shows it. Times are epoch seconds; absent where it has not come yet. */
export type DirectoryEntry = {
  readonly serial: string;
  readonly state: DirectoryState;
  /** whether it is for the site of this gateway, and not for every gateway */
  readonly ofSite: boolean;
  readonly requestedAt?: number;
  /** when its certificate went live */
  readonly registeredAt?: number;
};

export type DirectoryQuery = {
  /** of the serial; with upper and lower case */
  readonly prefix?: string | undefined;
  readonly state?: DirectoryState | undefined;
  /** true: those of the site of this gateway; false: those of every gateway */
  readonly ofSite?: boolean | undefined;
  /** the serial that the page before ended with */
  readonly after?: string | undefined;
  /** 1 to 1000 */
  readonly limit: number;
};

export type DirectoryCounts = Readonly<Record<DirectoryState, number>>;

export type DirectoryPage = {
  readonly entries: readonly DirectoryEntry[];
  /** whether more follow */
  readonly more: boolean;
  /** devices that fit the query, on all pages */
  readonly total: number;
};

/** The side of those who look. */
export interface Directory {
  /** One page. Its cost grows with the page and with the logarithm of the number of devices. */
  page(query: DirectoryQuery): Promise<DirectoryPage>;
  /** How many devices are in each state; undefined while it is filled for the first time. */
  counts(): Promise<DirectoryCounts | undefined>;
  /**
   * The first serials from this text on, itself included, in the order of their bytes. Its cost grows with the limit and with the logarithm of
   * the number of devices.
   * @param limit how many at most @throws while Redis is away
   */
  serialsFrom(text: string, limit: number): Promise<readonly string[]>;
  /** Those of these serials that are there. */
  known(serials: readonly string[]): Promise<ReadonlySet<string>>;
  close(): Promise<void>;
}

/** The worker's side: `RosterSync` keeps it from the same reading of the table as the roster. */
export interface DirectoryKeeper {
  /** Enters devices, or changes their entries. An entry that is as it should be costs one look. */
  put(entries: readonly DirectoryEntry[]): Promise<void>;
  remove(serials: readonly string[]): Promise<void>;
  /** Devices that are there have got their certificate. @param at epoch seconds */
  noteRegistered(serials: readonly string[], at: number): Promise<void>;
  /** False when the whole table must be read: nothing has filled it yet. */
  isComplete(): Promise<boolean>;
  /** Empties it, before a comparison that fills it: until `setComplete`, by `fill`. */
  clear(): Promise<void>;
  /** Enters devices that are not there, many times as fast as `put`. @throws when another worker has emptied it meanwhile */
  fill(entries: readonly DirectoryEntry[]): Promise<void>;
  setComplete(): Promise<void>;
  close(): Promise<void>;
}

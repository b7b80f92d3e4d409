/**
 * The line: which requests wait, in the order of their arrival, and how fast it moves. It decides nothing. The queue decides who
 * is next (`request-queue.ts`); the line is there to tell devices how long they will wait, and all that is in it may be wrong.
 */

/** A request that waits, as a broker shows it to the line. */
export type LineEntry = {
  readonly requestId: string;
  readonly recipientId: string;
  /** how long it has waited at this broker, in milliseconds */
  readonly waitedMs: number;
};

/** Counts of the workers for one second. */
export type LineSecond = {
  /** in seconds of Redis' clock */
  readonly second: number;
  /** requests that were answered in it */
  readonly answered: number;
  /** requests that were left in the line */
  readonly waiting: number;
};

/** The line at one time. The same for all requests, so that one look serves them all. */
export type LineView = {
  /** in seconds of Redis' clock */
  readonly second: number;
  readonly length: number;
  /** the places at ranks that are spread evenly over the line, ascending: the first is the first of the line, the last its end */
  readonly marks: readonly number[];
  /** the latest first, one a second at most, none older than half a minute */
  readonly seconds: readonly LineSecond[];
};

/** The broker's side. */
export interface Line {
  /**
   * Enters requests that are not in the line yet, and looks at it. A request keeps the place that it has, whichever broker shows it
   * again. One whose device comes back for an answer that it missed goes to the front, once, in the line and in the queue.
   * @returns the view, and the place of each entry, a number that only tells which comes first; undefined where it waits no more
   */
  look(entries: readonly LineEntry[]): Promise<{ view: LineView; places: (number | undefined)[] }>;
  close(): Promise<void>;
}

/** Which devices come back for an answer that they missed. The answer is kept, so it needs no call of AWS IoT. */
export interface MissedAnswers {
  /** True once for each answer, and for ten minutes after it. */
  comesBack(recipientId: string): Promise<boolean>;
  close(): Promise<void>;
}

/** A request that a worker has dealt with. */
export type LineLeaver = { readonly requestId: string; readonly recipientId: string };

/** The state of the line, for the metrics of a worker. */
export type LineState = { readonly length: number; readonly oldestSeconds: number };

/** The worker's side. */
export interface LineKeeper {
  /**
   * Takes answered requests out, and puts those that have lost their place where the queue puts them: at the end. Said once a second,
   * also when nothing was done: brokers tell from it that workers are there. Entries without a request are taken out by and by.
   */
  report(answered: readonly LineLeaver[], lostPlace: readonly string[]): Promise<LineState>;
  close(): Promise<void>;
}

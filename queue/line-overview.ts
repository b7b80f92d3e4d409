/** A request that waits, for people. */
export type WaitingRequest = {
  readonly requestId: string;
  readonly serial: string;
  /** from 1 */
  readonly position: number;
  /** when it came, epoch milliseconds */
  readonly since: number;
};

export type ToFrontOutcome =
  | { readonly outcome: 'moved'; readonly serial: string }
  /** it does not wait: it was answered, or never was there */
  | { readonly outcome: 'unknown' }
  /** a worker has it, or has tried it and will try it again: it has the front of the line already */
  | { readonly outcome: 'is-tried' };

/** The line, for people: who waits, and who goes first. */
export interface LineOverview {
  /** The first ones. */
  first(count: number): Promise<readonly WaitingRequest[]>;
  /** A worker takes it next. */
  toFront(requestId: string): Promise<ToFrontOutcome>;
  close(): Promise<void>;
}

/**
 * One worker at a time runs the sweep, of all workers and gateways that share a table. Losing the lease in the middle of a
 * sweep breaks nothing: a sweep decides by conditional writes only.
 */
export interface SweepLease {
  /**
   * Takes the lease, or extends one's own. False while another worker holds it, and while the last sweep began less than
   * `everyMs` ago. Times in epoch milliseconds.
   */
  take(holder: string, now: number, leaseMs: number, everyMs?: number): Promise<boolean>;
  release(holder: string): Promise<void>;
  /** When the last sweep began, in epoch milliseconds; undefined before the first. It may be as it was a moment ago. */
  last(): Promise<number | undefined>;
}

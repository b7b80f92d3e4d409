/** How many may come at once, and how many a second after that. */
export type Rate = { readonly burst: number; readonly perSecond: number };

/** A class, like all that each connection has one of: closures of its own would cost each connection memory. */
export class TokenBucket {
  /** milliseconds of a clock that is never set */
  readonly #now: () => number;
  #rate: Rate;
  #left: number;
  #at: number;

  constructor(rate: Rate, now: () => number) {
    this.#now = now;
    this.#rate = rate;
    this.#left = rate.burst;
    this.#at = now();
  }

  #refill(): void {
    const { burst, perSecond } = this.#rate;
    const time = this.#now();
    this.#left = Math.min(burst, this.#left + ((time - this.#at) / 1000) * perSecond);
    this.#at = time;
  }

  /** @returns whether there was one left */
  take(): boolean {
    if (this.#left < 1) this.#refill();
    if (this.#left < 1) return false;
    this.#left--;
    return true;
  }

  /** until there is one; 0 when there is one now */
  waitMs(): number {
    if (this.#left < 1) this.#refill();
    return this.#left < 1 ? Math.ceil(((1 - this.#left) / this.#rate.perSecond) * 1000) : 0;
  }

  /** until it is full again */
  fullMs(): number {
    this.#refill();
    return Math.ceil(((this.#rate.burst - this.#left) / this.#rate.perSecond) * 1000);
  }

  /** What was taken stays taken. */
  setRate(to: Rate): void {
    const { burst, perSecond } = this.#rate;
    if (to.burst === burst && to.perSecond === perSecond) return;
    this.#refill();
    this.#left = Math.max(0, this.#left + to.burst - burst);
    this.#rate = to;
  }
}

/** Messages that wait for the client to acknowledge earlier ones. A connection has a few answers to wait for, and notices of its place in the line. */
const maxHeld = 16;

/** Messages that are remembered as unacknowledged: what a client takes at most, whatever its Receive Maximum is. */
const maxInFlight = 64;

type Held = {
  readonly messageId: number;
  /** in milliseconds of the clock; Infinity for one that always says something */
  readonly expiresAt: number;
  write(secondsLeft: number): Buffer;
};

/**
 * Messages with QoS 1 on their way to one client: never more at a time than its Receive Maximum [MQTT-3.3.4-9]. Others wait in their order,
 * and one that has expired meanwhile is left out [MQTT-3.3.2-5].
 */
export class InFlight {
  readonly #most: number;
  readonly #now: () => number;
  readonly #ids = new Set<number>();
  #held: Held[] = [];

  constructor(receiveMaximum: number, now: () => number) {
    this.#most = Math.min(receiveMaximum, maxInFlight);
    this.#now = now;
  }

  /**
   * @param write the packet, with the seconds until it expires
   * @returns the packet, when it may be sent now; 'waits'; 'full' when too many wait: the client acknowledges nothing
   */
  send(messageId: number, expirySeconds: number | undefined, write: (secondsLeft: number) => Buffer) {
    const seconds = expirySeconds ?? Number.POSITIVE_INFINITY;
    if (this.#ids.size < this.#most) {
      this.#ids.add(messageId);
      return write(seconds);
    }
    const now = this.#now();
    this.#held = this.#held.filter(({ expiresAt }) => expiresAt > now);
    if (this.#held.length >= maxHeld) return 'full';
    this.#held.push({ messageId, expiresAt: now + seconds * 1000, write });
    return 'waits';
  }

  /** @returns the packet whose turn has come */
  acknowledged(messageId: number): Buffer | undefined {
    if (!this.#ids.delete(messageId)) return undefined;
    const now = this.#now();
    for (let next = this.#held.shift(); next !== undefined; next = this.#held.shift()) {
      if (next.expiresAt <= now) continue;
      this.#ids.add(next.messageId);
      return next.write(Math.ceil((next.expiresAt - now) / 1000));
    }
    return undefined;
  }
}

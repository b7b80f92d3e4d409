import type { AddressPace } from './address-pace.ts';
import { type Rate, TokenBucket } from './token-bucket.ts';

export type PaceLimits = {
  /** packets that a connection may send, before and after it has verified its token */
  readonly packets: Rate;
  readonly verifiedPackets: Rate;
  /** the first packets of each connection count for it alone, and not for its address */
  readonly packetsFreeOfAddress: number;
};

const noLine = (): void => {};

/**
 * How many packets of one connection are passed on. A device needs six for its certificate; a stranger can put thirty
 * thousand PINGREQs into one TLS record, and each costs the event loop of all. Before proof, what a connection sends beyond
 * its first packets comes out of the budget of its address as well. So an address with many connections has no more, but for
 * those first packets, which are cheaper than the handshake before them.
 */
export class PacketPace {
  readonly #limits: PaceLimits;
  readonly #ofAddress: AddressPace;
  readonly #own: TokenBucket;
  #free: number;
  #isVerified = false;
  #hasTurn = false;
  /** called when the next packet may pass */
  #waiting: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #leaveLine = noLine;

  /** @param now milliseconds of a clock that is never set */
  constructor(limits: PaceLimits, ofAddress: AddressPace, now: () => number = processNow) {
    this.#limits = limits;
    this.#ofAddress = ofAddress;
    this.#own = new TokenBucket(limits.packets, now);
    this.#free = limits.packetsFreeOfAddress;
  }

  /** @returns whether one more packet may pass now */
  take(): boolean {
    if (this.#own.waitMs() > 0 || !this.#takeOfAddress()) return false;
    return this.#own.take();
  }

  #takeOfAddress(): boolean {
    if (this.#isVerified) return true;
    if (this.#hasTurn) {
      this.#hasTurn = false;
      return true;
    }
    if (this.#free > 0) {
      this.#free--;
      return true;
    }
    return this.#ofAddress.take();
  }

  /** Calls `next` once, when one more packet may pass. One call at a time. */
  wait(next: () => void): void {
    this.#waiting = next;
    const ms = this.#own.waitMs();
    if (ms > 0) this.#goOnAfter(ms);
    else
      this.#leaveLine = this.#ofAddress.wait(() => {
        this.#hasTurn = true;
        this.#goOn();
      });
  }

  #goOnAfter(ms: number): void {
    this.#timer = setTimeout(() => this.#goOn(), ms);
  }

  #goOn(): void {
    const next = this.#waiting;
    this.stop();
    next?.();
  }

  verified(): void {
    this.#isVerified = true;
    this.#own.setRate(this.#limits.verifiedPackets);
    if (this.#waiting === undefined) return;
    const next = this.#waiting;
    this.stop();
    this.#waiting = next;
    this.#goOnAfter(this.#own.waitMs());
  }

  unverified(): void {
    this.#isVerified = false;
    this.#own.setRate(this.#limits.packets);
  }

  /** The connection has ended. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#leaveLine();
    this.#leaveLine = noLine;
    this.#waiting = undefined;
  }
}

const processNow = (): number => performance.now();

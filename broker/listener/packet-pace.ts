import type { AddressPace } from './address-pace.ts';
import { createTokenBucket, type Rate } from './token-bucket.ts';

export type PaceLimits = {
  /** packets that a connection may send, before and after it has verified its token */
  readonly packets: Rate;
  readonly verifiedPackets: Rate;
  /** the first packets of each connection count for it alone, and not for its address */
  readonly packetsFreeOfAddress: number;
};

export type PacketPace = ReturnType<typeof createPacketPace>;

/**
 * How many packets of one connection are passed on. A device needs six for its certificate; a stranger can put thirty
 * thousand PINGREQs into one TLS record, and each costs the event loop of all. Before proof, what a connection sends beyond
 * its first packets comes out of the budget of its address as well. So an address with many connections has no more, but for
 * those first packets, which are cheaper than the handshake before them.
 * @param now milliseconds of a clock that is never set
 */
export function createPacketPace(
  limits: PaceLimits,
  ofAddress: AddressPace,
  now: () => number = () => performance.now(),
) {
  const own = createTokenBucket(limits.packets, now);
  let free = limits.packetsFreeOfAddress;
  let [isVerified, hasTurn] = [false, false];
  /** called when the next packet may pass */
  let waiting: (() => void) | undefined;
  let timer: NodeJS.Timeout | undefined;
  let leaveLine = () => {};

  function takeOfAddress(): boolean {
    if (isVerified) return true;
    if (hasTurn) {
      hasTurn = false;
      return true;
    }
    if (free > 0) {
      free--;
      return true;
    }
    return ofAddress.take();
  }

  function stop(): void {
    clearTimeout(timer);
    leaveLine();
    waiting = undefined;
  }

  function goOn(): void {
    const next = waiting;
    stop();
    next?.();
  }

  return {
    /** @returns whether one more packet may pass now */
    take(): boolean {
      if (own.waitMs() > 0 || !takeOfAddress()) return false;
      return own.take();
    },
    /** Calls `next` once, when one more packet may pass. One call at a time. */
    wait(next: () => void): void {
      waiting = next;
      const ms = own.waitMs();
      if (ms > 0) timer = setTimeout(goOn, ms);
      else
        leaveLine = ofAddress.wait(() => {
          hasTurn = true;
          goOn();
        });
    },
    verified(): void {
      isVerified = true;
      own.setRate(limits.verifiedPackets);
      if (waiting === undefined) return;
      const next = waiting;
      stop();
      waiting = next;
      timer = setTimeout(goOn, own.waitMs());
    },
    unverified(): void {
      isVerified = false;
      own.setRate(limits.packets);
    },
    /** The connection has ended. */
    stop,
  };
}

export type PaceLimits = {
  /** packets that a connection may send at once, and then in each second, before and after it has verified its token */
  readonly packets: { readonly burst: number; readonly perSecond: number };
  readonly verifiedPackets: { readonly burst: number; readonly perSecond: number };
};

export type PacketPace = ReturnType<typeof createPacketPace>;

/**
 * How many packets of one connection are passed on: a token bucket. A device needs six for its certificate; a stranger can
 * put thirty thousand PINGREQs into one TLS record, and each costs the event loop of all.
 * @param now milliseconds of a clock that is never set
 */
export function createPacketPace(limits: PaceLimits, now: () => number = () => performance.now()) {
  let { burst, perSecond } = limits.packets;
  let [left, at] = [burst, now()];

  function refill(): void {
    const time = now();
    left = Math.min(burst, left + ((time - at) / 1000) * perSecond);
    at = time;
  }

  return {
    /** @returns whether one more packet may pass now */
    take(): boolean {
      if (left < 1) refill();
      if (left < 1) return false;
      left--;
      return true;
    },
    /** until the next packet may pass */
    waitMs(): number {
      refill();
      return Math.max(0, Math.ceil(((1 - left) / perSecond) * 1000));
    },
    verified(): void {
      if (burst === limits.verifiedPackets.burst) return;
      refill();
      left += limits.verifiedPackets.burst - burst;
      ({ burst, perSecond } = limits.verifiedPackets);
    },
    unverified(): void {
      refill();
      ({ burst, perSecond } = limits.packets);
      left = Math.min(left, burst);
    },
  };
}

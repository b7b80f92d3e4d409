import { type Rate, TokenBucket } from './token-bucket.ts';

/** The budget of packets that the connections of one address share before they have verified a token. */
export type AddressPace = {
  /** @returns whether one more packet may pass now; not while another connection waits for its turn */
  take(): boolean;
  /** Calls `onTurn` when one packet of this connection may pass. @returns the function that gives up the place in the line */
  wait(onTurn: () => void): () => void;
  /** The connection has ended. */
  leave(): void;
};

type Shared = Pick<AddressPace, 'take' | 'wait'> & { fullMs(): number; members: number };

/**
 * One budget for each address, which outlives its connections until it is full again: else an address would have it anew with each
 * connection. @param now milliseconds of a clock that is never set
 */
export function createAddressPaces(rate: Rate, now: () => number = () => performance.now()) {
  const byAddress = new Map<string, Shared>();

  function forgetWhenFull(address: string, shared: Shared): void {
    setTimeout(() => {
      if (shared.members === 0 && shared.fullMs() === 0) byAddress.delete(address);
    }, shared.fullMs()).unref();
  }

  return {
    /** @param address what limits count a connection under */
    join(address: string): AddressPace {
      const shared = byAddress.get(address) ?? createShared(rate, now);
      byAddress.set(address, shared);
      shared.members++;
      return {
        take: shared.take,
        wait: shared.wait,
        leave() {
          shared.members--;
          if (shared.members === 0) forgetWhenFull(address, shared);
        },
      };
    },
    size: () => byAddress.size,
  };
}

function createShared(rate: Rate, now: () => number): Shared {
  const bucket = new TokenBucket(rate, now);
  /** connections that wait, each for one packet; one that sends more goes to the end of the line */
  const line = new Set<() => void>();
  let isPlanned = false;

  function plan(): void {
    if (line.size === 0 || isPlanned) return;
    isPlanned = true;
    setTimeout(serve, bucket.waitMs());
  }

  function serve(): void {
    isPlanned = false;
    for (const onTurn of line) {
      if (!bucket.take()) break;
      line.delete(onTurn);
      onTurn();
    }
    plan();
  }

  return {
    members: 0,
    take: () => line.size === 0 && bucket.take(),
    wait(onTurn) {
      // of its own, so that no other waits under the same function
      const place = () => onTurn();
      line.add(place);
      plan();
      return () => void line.delete(place);
    },
    fullMs: () => bucket.fullMs(),
  };
}

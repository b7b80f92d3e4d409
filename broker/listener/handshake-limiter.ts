/** Handshakes that a turn of the event loop begins at least, even when turns are slow. */
const leastStarts = 4;

type HandshakeLimits = {
  readonly maxHandshakes: number;
  readonly startsPerTurn: number;
  /** what a turn may cost this process, in milliseconds of CPU */
  readonly turnCpuMs: number;
};

/** Clock and CPU time of the process; a test replaces them. */
type Machine = {
  /** calls back in the next turn of the event loop, after the sockets that were ready in it */
  readonly nextTurn: (then: () => void) => void;
  /** CPU that the process has spent, in milliseconds */
  readonly spentMs: () => number;
};

const thisMachine: Machine = {
  nextTurn: setImmediate,
  spentMs() {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1000;
  },
};

/**
 * Limits TLS handshakes: `maxHandshakes` are under way at a time, and `startsPerTurn` of them at most begin in one turn of the event loop.
 * What a device sends after its handshake comes as fast as handshakes begin, so this bounds the work of a turn, and with it how long all
 * other connections wait. Where turns cost more than `turnCpuMs`, fewer begin: a small machine needs longer for each. Waiting ones are
 * served round-robin by address: an address that opens a thousand connections waits a thousand times as long as one that opens a single
 * connection.
 */
export function createHandshakeLimiter(
  { maxHandshakes, startsPerTurn, turnCpuMs }: HandshakeLimits,
  { nextTurn, spentMs }: Machine = thisMachine,
) {
  /** those that wait, by address. A Map keeps the order of insertion: the address that was served last stands last */
  const waiting = new Map<string, Set<() => void>>();
  let running = 0;
  let startedInTurn = 0;
  let startsNow = startsPerTurn;
  /** undefined where the last turn began none: what went on since then was no turn */
  let spentBefore: number | undefined;

  function startNext(): void {
    while (running < maxHandshakes && startedInTurn < startsNow) {
      const [first] = waiting;
      if (first === undefined) return;
      const [address, line] = first;
      const [start] = line;
      waiting.delete(address);
      if (start === undefined) continue;
      line.delete(start);
      if (line.size > 0) waiting.set(address, line);
      running++;
      if (++startedInTurn === 1) nextTurn(beginTurn);
      start();
    }
  }

  function beginTurn(): void {
    const spent = spentMs();
    if (spentBefore !== undefined) adapt(spent - spentBefore);
    startedInTurn = 0;
    startNext();
    spentBefore = startedInTurn > 0 ? spent : undefined;
  }

  /** The work of a handshake is spread over the turns that follow, so the number changes little by little. */
  function adapt(costMs: number): void {
    startsNow =
      costMs > turnCpuMs
        ? Math.max(Math.min(leastStarts, startsPerTurn), startsNow - 1)
        : Math.min(startsPerTurn, startsNow + 1);
  }

  return {
    /**
     * Calls `onTurn` when it is this connection's turn, perhaps at once.
     * @returns the function that gives the turn back, or the place in the line when the connection gives up while it waits.
     * Calling it again does nothing
     */
    acquire(address: string, onTurn: () => void): () => void {
      let state: 'waiting' | 'running' | 'released' = 'waiting';
      const start = () => {
        state = 'running';
        onTurn();
      };
      const line = waiting.get(address) ?? new Set();
      waiting.set(address, line.add(start));
      startNext();
      return () => {
        if (state === 'running') running--;
        else line.delete(start);
        state = 'released';
        startNext();
      };
    },
    waiting: () => [...waiting.values()].reduce((sum, line) => sum + line.size, 0),
  };
}

export type HandshakeLimiter = ReturnType<typeof createHandshakeLimiter>;

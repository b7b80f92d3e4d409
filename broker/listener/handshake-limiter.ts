/**
 * Limits TLS handshakes: `maxHandshakes` are under way at a time, and `startsPerTurn` of them begin in one turn of the event loop. What
 * a device sends after its handshake comes as fast as handshakes begin, so this bounds the work of a turn, and with it how long all other
 * connections wait. Waiting ones are served round-robin by address: an address that opens a thousand connections waits a thousand times
 * as long as one that opens a single connection.
 * @param nextTurn calls back in the next turn of the event loop, after the sockets that were ready in it
 */
export function createHandshakeLimiter(
  { maxHandshakes, startsPerTurn }: { readonly maxHandshakes: number; readonly startsPerTurn: number },
  nextTurn: (then: () => void) => void = setImmediate,
) {
  /** those that wait, by address. A Map keeps the order of insertion: the address that was served last stands last */
  const waiting = new Map<string, Set<() => void>>();
  let running = 0;
  let startedInTurn = 0;

  function startNext(): void {
    while (running < maxHandshakes && startedInTurn < startsPerTurn) {
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
    startedInTurn = 0;
    startNext();
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

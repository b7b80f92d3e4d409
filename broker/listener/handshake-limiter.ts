/**
 * Limits concurrent TLS handshakes to `maxHandshakes`. Waiting ones are served round-robin by address: an address that opens
 * a thousand connections waits a thousand times as long as one that opens a single connection.
 */
export function createHandshakeLimiter(maxHandshakes: number) {
  /** those that wait, by address. A Map keeps the order of insertion: the address that was served last stands last */
  const waiting = new Map<string, Set<() => void>>();
  let running = 0;

  function startNext(): void {
    while (running < maxHandshakes) {
      const [first] = waiting;
      if (first === undefined) return;
      const [address, line] = first;
      const [start] = line;
      waiting.delete(address);
      if (start === undefined) continue;
      line.delete(start);
      if (line.size > 0) waiting.set(address, line);
      running++;
      start();
    }
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

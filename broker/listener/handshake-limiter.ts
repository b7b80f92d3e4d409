/**
 * Lets so many in at a time, and who waits in turns between addresses: one that opens a thousand connections waits a
 * thousand times as long as one that opens one.
 */
export function createHandshakeLimiter(places: number) {
  /** by address: in a Map, the one that was served last comes last */
  const waiting = new Map<string, Set<() => void>>();
  let inside = 0;

  function next(): void {
    while (inside < places) {
      const [turn] = waiting;
      if (turn === undefined) return;
      const [address, line] = turn;
      const [go] = line;
      waiting.delete(address);
      if (go === undefined) continue;
      line.delete(go);
      if (line.size > 0) waiting.set(address, line);
      inside++;
      go();
    }
  }

  return {
    /**
     * Calls `go` when it is its turn, perhaps at once. @returns who must be called once it has gone through, or has given
     * up, whichever comes first; calling it again does nothing
     */
    enter(address: string, go: () => void): () => void {
      let state: 'waits' | 'inside' | 'gone' = 'waits';
      const pass = () => {
        state = 'inside';
        go();
      };
      const line = waiting.get(address) ?? new Set();
      waiting.set(address, line.add(pass));
      next();
      return () => {
        if (state === 'inside') inside--;
        else line.delete(pass);
        state = 'gone';
        next();
      };
    },
    waiting: () => [...waiting.values()].reduce((sum, line) => sum + line.size, 0),
  };
}

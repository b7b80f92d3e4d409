/** Serials of one address that wait at a time, and addresses. */
const [mostOfAddress, mostAddresses] = [100, 1000];

/**
 * The line of serials that are to be looked up in the table: one at a time, in turns between the addresses that cause it. A flood of wrong tokens must
 * not become a flood of lookups, and must not keep the lookup of a device at another address from its turn.
 * @param lookUp starts a lookup, and never fails
 */
export function createLookupLine(lookUp: (serial: string) => void, intervalMs: number) {
  /** A Map keeps the order of insertion: the address that had its turn last stands last */
  const waiting = new Map<string, Set<string>>();
  let timer: NodeJS.Timeout | undefined;
  let closed = false;

  function next(): void {
    timer = undefined;
    const [first] = waiting;
    if (first === undefined) return;
    const [address, serials] = first;
    const [serial = ''] = serials;
    waiting.delete(address);
    serials.delete(serial);
    if (serials.size > 0) waiting.set(address, serials);
    timer = setTimeout(next, intervalMs).unref();
    lookUp(serial);
  }

  return {
    /** At once, where nothing has been looked up for `intervalMs`. Where the line of its address is full, it is left out: the device asks again. */
    add(serial: string, address: string): void {
      if (closed) return;
      const serials = waiting.get(address) ?? new Set();
      if (serials.size >= mostOfAddress || (serials.size === 0 && waiting.size >= mostAddresses)) return;
      waiting.set(address, serials.add(serial));
      if (timer === undefined) next();
    },
    close(): void {
      closed = true;
      clearTimeout(timer);
      waiting.clear();
    },
  };
}

import { setFlagsFromString } from 'node:v8';

/**
 * How much V8's old generation grows, in percent of its live objects, before V8 collects all garbage. V8 adds to it what Node.js tells of
 * memory outside of the heap: 0.1 MB for each TLS connection. So with V8's own choice, which is a tenth for a heap that grows slowly, each 150
 * connections cost a whole collection, and that takes the longer the more connections there are.
 *
 * V8 ignores flags that it does not know. The young generation keeps its usual size: kept at its least, it took a fifth of a broker's CPU,
 * because what a handshake needs for a moment outlived it.
 */
export function letHeapGrow(percent: number): void {
  setFlagsFromString(`--heap-growing-percent=${percent}`);
}

/** A flood makes much garbage and keeps little; a site that is there at once keeps what it has. Percent. */
const growth = { ofFew: 20, ofMany: 200 } as const;
/** With more connections than this, it is a whole site that connects, not a flood from a few addresses. */
const manyConnections = 2000;
const lookMs = 1000;

/** Keeps the heap of a server small as long as it has few connections. @param open how many there are now */
export function fitHeapGrowth(open: () => number) {
  let percent: number = growth.ofFew;
  letHeapGrow(percent);
  const look = () => {
    const wanted = open() < manyConnections ? growth.ofFew : growth.ofMany;
    if (wanted !== percent) letHeapGrow(wanted);
    percent = wanted;
  };
  const timer = setInterval(look, lookMs).unref();
  return { name: 'heap growth', close: async () => clearInterval(timer) };
}

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

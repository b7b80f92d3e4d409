import { setFlagsFromString } from 'node:v8';

/**
 * Makes V8 collect the old generation when it has grown by a fifth, instead of letting it grow to twice its live objects: a broker
 * under a flood makes much garbage and keeps little. The young generation keeps its usual size: kept at its least, it took a fifth of the
 * broker's CPU, because what a handshake needs for a moment outlived it (`npm run bench -- cpu`). V8 ignores flags that it does not know.
 */
export function keepHeapSmall(): void {
  setFlagsFromString('--heap-growing-percent=20');
}

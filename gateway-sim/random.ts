/** The state after `state`, and the number from 0 to 1 that it gives (mulberry32): a device keeps one integer, and no closure. */
export function nextRandom(state: number): [state: number, value: number] {
  const next = (state + 0x6d2b79f5) | 0;
  let mixed = Math.imul(next ^ (next >>> 15), next | 1);
  mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
  return [next, ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296];
}

/** Numbers from 0 to 1, the same ones for the same seed. */
export function randomOf(seed: number): () => number {
  let state = seed | 0;
  return () => {
    const [next, value] = nextRandom(state);
    state = next;
    return value;
  };
}

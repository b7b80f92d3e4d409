/**
 * Reads a value that changes seldom: again when it is older than `forMs` milliseconds. Callers at once share one read; an error is
 * not remembered.
 */
export function remembered<T>(
  read: () => Promise<T>,
  forMs: number,
  now: () => number = () => performance.now(),
): () => Promise<T> {
  let known: { readonly value: Promise<T>; readonly until: number } | undefined;
  return () => {
    if (known !== undefined && now() < known.until) return known.value;
    const value = read();
    const reading = { value, until: now() + forMs };
    known = reading;
    value.catch(() => {
      if (known === reading) known = undefined;
    });
    return value;
  };
}

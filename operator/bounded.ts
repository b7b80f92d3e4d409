/**
 * Runs `act` on every item, at most `limit` at a time. The first failure, of an item or of the list itself, ends the run
 * after the items under way are done.
 * @throws the first failure
 */
export async function forEachBounded<T>(
  items: Iterable<T> | AsyncIterable<T>,
  limit: number,
  act: (item: T) => Promise<void>,
): Promise<void> {
  const running = new Set<Promise<void>>();
  let failure: { error: unknown } | undefined;
  const fail = (error: unknown) => {
    failure ??= { error };
  };
  try {
    for await (const item of items) {
      const one = act(item)
        .catch(fail)
        .finally(() => running.delete(one));
      running.add(one);
      if (running.size >= limit) await Promise.race(running);
      if (failure !== undefined) break;
    }
  } catch (error) {
    fail(error);
  }
  await Promise.all(running);
  if (failure !== undefined) throw failure.error;
}

/**
 * Runs `act` on every item, at most `limit` at a time, and yields the outcomes in the order of the items. After the first failure, of an
 * item or of the list itself, no further item is taken; the items under way are done, and their outcomes yielded, before it is thrown.
 * @throws the first failure
 */
export async function* mapBounded<T, R>(
  items: AsyncIterable<T>,
  limit: number,
  act: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  const running: Promise<{ value: R } | { error: unknown }>[] = [];
  let failure: { error: unknown } | undefined;
  async function* next(): AsyncGenerator<R> {
    const outcome = await running.shift();
    if (outcome === undefined) return;
    if ('value' in outcome) yield outcome.value;
    else failure ??= outcome;
  }
  try {
    for await (const item of items) {
      running.push(
        act(item).then(
          (value) => ({ value }),
          (error: unknown) => ({ error }),
        ),
      );
      if (running.length >= limit) yield* next();
      if (failure !== undefined) break;
    }
  } catch (error) {
    failure ??= { error };
  }
  while (running.length > 0) yield* next();
  if (failure !== undefined) throw failure.error;
}

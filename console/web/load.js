import { useCallback, useEffect, useRef, useState } from './lib.js';

/**
 * Loads what a page shows, and again when one of `inputs` changes or `reload` is called. What is shown stays until the new is there.
 * @template T
 * @param {(signal: AbortSignal) => Promise<T>} loader
 * @param {unknown[]} inputs
 * @returns {{ data: T | undefined, error: any, loading: boolean, reload: () => void }}
 */
export function useLoad(loader, inputs) {
  const [state, setState] = useState(
    /** @type {{ data: T | undefined, error: any, loading: boolean }} */ ({
      data: undefined,
      error: undefined,
      loading: true,
    }),
  );
  const [turn, setTurn] = useState(0);
  const latest = useRef(loader);
  latest.current = loader;
  useEffect(() => {
    const controller = new AbortController();
    setState((before) => ({ ...before, loading: true }));
    latest.current(controller.signal).then(
      (data) => controller.signal.aborted || setState({ data, error: undefined, loading: false }),
      (error) => controller.signal.aborted || setState((before) => ({ data: before.data, error, loading: false })),
    );
    return () => controller.abort();
  }, [...inputs, turn]);
  const reload = useCallback(() => setTurn((before) => before + 1), []);
  return { ...state, reload };
}

/**
 * Calls `act` soon after the first call and at most once in `pause` milliseconds, however often it is called.
 * @param {() => void} act
 * @param {number} pause milliseconds
 */
export function useCalm(act, pause) {
  const latest = useRef(act);
  latest.current = act;
  const timer = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  return useCallback(() => {
    if (timer.current !== 0) return;
    timer.current = window.setTimeout(() => {
      timer.current = 0;
      latest.current();
    }, pause);
  }, [pause]);
}

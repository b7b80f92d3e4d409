import { mayPass, retryPause } from './api.js';
import { useCallback, useEffect, useRef, useState } from './lib.js';

/**
 * Loads what a page shows, and again when one of `inputs` changes or `reload` is called. What is shown stays until the new is there. What failed for
 * a moment only is tried again.
 * @template T
 * @param {(signal: AbortSignal) => Promise<T>} loader
 * @param {unknown[]} inputs
 * @returns {{ data: T | undefined, error: any, loading: boolean, isOfBefore: boolean, reload: () => void }}
 * `isOfBefore`: `data` were loaded for other inputs than these
 */
export function useLoad(loader, inputs) {
  const [state, setState] = useState(
    /** @type {{ data: T | undefined, of: unknown[], error: any, loading: boolean }} */ ({
      data: undefined,
      of: inputs,
      error: undefined,
      loading: true,
    }),
  );
  const [turn, setTurn] = useState(0);
  const latest = useRef(loader);
  latest.current = loader;
  useEffect(() => {
    const controller = new AbortController();
    let retry = 0;
    setState((before) => ({ ...before, loading: true }));
    latest.current(controller.signal).then(
      (data) => controller.signal.aborted || setState({ data, of: inputs, error: undefined, loading: false }),
      (error) => {
        if (controller.signal.aborted) return;
        setState((before) => ({ ...before, error, loading: false }));
        if (mayPass(error)) retry = window.setTimeout(() => setTurn((before) => before + 1), retryPause());
      },
    );
    return () => {
      controller.abort();
      clearTimeout(retry);
    };
  }, [...inputs, turn]);
  const reload = useCallback(() => setTurn((before) => before + 1), []);
  // from the first drawing on, in which nothing was asked yet
  const isOfBefore = state.of.some((input, place) => input !== inputs[place]);
  return { ...state, loading: state.loading || (isOfBefore && state.error === undefined), isOfBefore, reload };
}

/**
 * Calls `act` soon after the first call, at most once in `pause` milliseconds however often it is called, and once `pause` or more after the last call.
 * @param {() => void} act
 * @param {number} pause milliseconds
 */
export function useCalm(act, pause) {
  const latest = useRef(act);
  latest.current = act;
  const timer = useRef(0);
  const again = useRef(false);
  useEffect(() => () => clearTimeout(timer.current), []);
  const plan = useCallback(() => {
    again.current = timer.current !== 0;
    if (again.current) return;
    timer.current = window.setTimeout(() => {
      timer.current = 0;
      if (again.current) plan();
      latest.current();
    }, pause);
  }, [pause]);
  return plan;
}

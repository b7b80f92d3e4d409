import { useState } from './lib.js';

/** What a person has typed, by field. It outlives the end of a session, but neither the page nor another person's sign-in. @type {Map<string, any>} */
const kept = new Map();

/**
 * As `useState`, for what nobody wants to type twice.
 * @template T
 * @param {string} name of the field
 * @param {T} initial
 * @returns {[T, (value: T) => void]}
 */
export function useKept(name, initial) {
  const [value, setValue] = useState(/** @type {T} */ (kept.has(name) ? kept.get(name) : initial));
  return [
    value,
    (next) => {
      kept.set(name, next);
      setValue(() => next);
    },
  ];
}

/** It has served. @param {string} [of] the page; absent: all of them */
export function forgetKept(of = '') {
  for (const name of [...kept.keys()]) if (name.startsWith(of)) kept.delete(name);
}

// Tokens are shown once. They are kept here, in the memory of this page alone, until their labels are printed or put away.
import { createStore } from '../store.js';

/** @typedef {import('../types.d.ts').WithToken} WithToken */

export const keptLabels = createStore(/** @type {WithToken[]} */ ([]));

window.addEventListener('beforeunload', (event) => {
  if (keptLabels.get().length > 0) event.preventDefault();
});

/** @param {WithToken[]} labels @param {{ together?: boolean }} [options] `together`: with those that are kept already */
export function keepLabels(labels, { together = true } = {}) {
  const fresh = new Map((together ? keptLabels.get() : []).map((label) => [label.serial, label]));
  // a new token of the same device replaces the one that it made worthless
  for (const label of labels) fresh.set(label.serial, label);
  keptLabels.set([...fresh.values()]);
}

export const putLabelsAway = () => keptLabels.set([]);

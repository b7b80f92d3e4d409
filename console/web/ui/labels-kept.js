// Tokens are shown once. They are kept here, in the memory of this page alone, until their labels are printed or put away.
import { post } from '../api.js';
import { mayConcern, useDeviceEvents, useLive } from '../live.js';
import { useCalm } from '../load.js';
import { createStore } from '../store.js';
import { t } from '../texts.js';
import { say } from './parts.js';

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

/** what may have made a label worthless; `changed`: by a command, or at another gateway */
const telling = new Set(['reissued', 'removed', 'enrolled', 'changed']);
/** labels in one question to the gateway */
const atATime = 20;
/** @type {Set<string>} serials whose labels are to be compared */
const doubtful = new Set();

/** Compares the kept labels with the gateway when another person may have made them worthless. It draws nothing. */
export function LabelWatch() {
  const compareSoon = useCalm(compare, 1000);
  const doubt = (/** @type {(serial: string) => boolean} */ isMeant) => {
    for (const { serial, worthless } of keptLabels.get())
      if (worthless === undefined && isMeant(serial)) doubtful.add(serial);
    if (doubtful.size > 0) compareSoon();
  };
  useDeviceEvents((events) => {
    const told = events.filter(({ event = '' }) => event === 'more' || telling.has(event));
    doubt((serial) => mayConcern(told, (named) => named === serial));
  });
  // what was missed meanwhile
  useLive('resync', () => doubt(() => true));
  return null;

  async function compare() {
    const labels = keptLabels.get().filter(({ serial }) => doubtful.has(serial));
    const asked = labels.slice(0, atATime);
    for (const serial of [...doubtful])
      if (!labels.slice(atATime).some((label) => label.serial === serial)) doubtful.delete(serial);
    if (asked.length === 0) return;
    const body = { labels: asked.map(({ serial, token }) => ({ serial, token })) };
    const answer = await post('/devices/labels/check', body).catch(() => undefined);
    if (answer === undefined) for (const { serial } of asked) doubtful.add(serial);
    else markWorthless(asked, answer.worthless);
    if (doubtful.size > 0) compareSoon();
  }
}

/** @param {WithToken[]} asked @param {import('../types.d.ts').Worthless[]} found */
function markWorthless(asked, found) {
  const bySerial = new Map(found.map((each) => [each.serial, each]));
  const tokens = new Set(asked.map(({ token }) => token));
  /** @type {string[]} */
  const marked = [];
  const labels = keptLabels.get().map((label) => {
    // this person may have made yet another token meanwhile: that one was not asked about
    const worthless = tokens.has(label.token) ? bySerial.get(label.serial) : undefined;
    if (worthless === undefined) return label;
    marked.push(label.serial);
    return { ...label, worthless };
  });
  const [first] = marked;
  if (first === undefined) return;
  keptLabels.set(labels);
  say(t.labels.worthlessNotice(first, marked.length - 1), 'warning');
}

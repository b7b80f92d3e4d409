import { post } from '../api.js';
import { number, sentence } from '../format.js';
import { html, useState } from '../lib.js';
import { goTo, linkTo } from '../router.js';
import { t } from '../texts.js';
import { keepLabels } from './labels-kept.js';
import { Button, Dialog, ErrorBox, Field, say } from './parts.js';

/** @typedef {import('../types.d.ts').BulkAction} Action */

/** @type {Action[]} */
const actions = ['reissue', 'block', 'unblock', 'remove'];

/** What can be done to all selected devices. @param {{ selected: Set<string>, clear: () => void, done: () => void }} props */
export function BulkBar({ selected, clear, done }) {
  const [asked, setAsked] = useState(/** @type {Action | undefined} */ (undefined));
  if (selected.size === 0) return null;
  return html`<div class="bulk" role="region" aria-label=${t.bulk.label}>
    <span class="strong" role="status">${t.bulk.selected(number(selected.size))}</span>
    <div class="actions">
      ${actions.map((action) => html`<${Button} key=${action} kind=${action === 'remove' ? 'danger' : 'plain'} onClick=${() => setAsked(action)}>${t.acts[action].button}<//>`)}
      <${Button} kind="quiet" icon="close" onClick=${clear}>${t.bulk.clear}<//>
    </div>
    ${
      asked === undefined
        ? null
        : html`<${Confirm}
          action=${asked}
          serials=${[...selected]}
          onClose=${() => setAsked(undefined)}
          onDone=${() => {
            setAsked(undefined);
            clear();
            done();
          }}
        />`
    }
  </div>`;
}

/**
 * Asks before it acts. Removing cannot be undone, so it wants the serial, or the number of devices, typed.
 * @param {{ action: Action, serials: string[], onClose: () => void, onDone: () => void }} props
 */
export function Confirm({ action, serials, onClose, onDone }) {
  const [typed, setTyped] = useState('');
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(/** @type {any} */ (undefined));
  const [ran, setRan] = useState(/** @type {Ran | undefined} */ (undefined));
  const texts = t.acts[action];
  const [first = ''] = serials;
  const isOne = serials.length === 1;
  const what = isOne ? first : t.bulk.devices(number(serials.length));
  const needed = action === 'remove' ? (isOne ? first : `${serials.length}`) : '';
  const finish = (/** @type {Ran} */ { hasTokens }) => {
    onDone();
    if (hasTokens) goTo(linkTo('labels'));
  };
  const act = () => {
    if (ran !== undefined) return finish(ran);
    if (typed.trim() !== needed || busy) return;
    setBusy(true);
    setError(undefined);
    run(action, serials).then(
      (outcome) => {
        if (outcome.failures.length > 0) return setRan(outcome);
        say(texts.done(what));
        finish(outcome);
      },
      (failure) => {
        setBusy(false);
        setError(failure);
      },
    );
  };
  if (ran !== undefined) {
    return html`<${Dialog} title=${t.bulk.someFailed(number(ran.failures.length), number(serials.length))} onClose=${() => finish(ran)} onSubmit=${act} footer=${html`<${Button} type="submit" kind="primary">${t.actions.close}<//>`}>
      <ul class="failures">${ran.failures
        .slice(0, shownFailures)
        .map(
          ({ serial, reason, outcome, cure }) =>
            html`<li key=${serial}><span class="mono strong">${serial}</span>: ${sentence(reason ?? outcome)}${cure === undefined ? null : html`<br /><span class="strong">${t.cure}</span> ${sentence(cure)}`}</li>`,
        )}</ul>
      ${ran.failures.length > shownFailures ? html`<p class="muted">${t.bulk.moreFailed(number(ran.failures.length - shownFailures))}</p>` : null}
    <//>`;
  }
  return html`<${Dialog}
    title=${texts.title(what)}
    onClose=${onClose}
    onSubmit=${act}
    footer=${html`<${Button} onClick=${onClose}>${t.actions.cancel}<//>
      <${Button} type="submit" kind=${action === 'remove' || action === 'block' ? 'danger' : 'primary'} disabled=${busy || typed.trim() !== needed}>${busy ? t.actions.busy : texts.button}<//>`}
  >
    <p>${texts.means}</p>
    ${needed === '' ? null : html`<${Field} label=${t.bulk.typeToConfirm(needed)} value=${typed} onInput=${setTyped} autocomplete="off" spellcheck=${false} />`}
    <${ErrorBox} error=${error} />
  <//>`;
}

/** @typedef {{ failures: import('../types.d.ts').BulkResult[], hasTokens: boolean }} Ran */

const shownFailures = 8;
/** what the API says of devices that nothing was done to */
const refusals = new Set([
  'failed',
  'not-enrolled',
  'being-provisioned',
  'changed',
  'being-removed',
  'is-blocked',
  'state-unknown',
]);

/** @param {import('../types.d.ts').BulkResult[]} results */
const withTokens = (results) =>
  results.flatMap(({ serial, token }) => (token === undefined ? [] : [{ serial, token }]));

/**
 * @param {Action} action
 * @param {string[]} serials
 * @returns {Promise<Ran>}
 */
async function run(action, serials) {
  /** @type {import('../types.d.ts').BulkResult[]} */
  const results = [];
  for (let start = 0; start < serials.length; start += 1000) {
    const answer = await post('/devices/bulk', { action, serials: serials.slice(start, start + 1000) });
    results.push(...(answer.results ?? []));
    // at once: where the next call fails, these are not lost
    keepLabels(withTokens(answer.results ?? []));
  }
  return {
    failures: results.filter(({ outcome }) => refusals.has(outcome)),
    hasTokens: withTokens(results).length > 0,
  };
}

import { get } from '../api.js';
import { fullTime, number, toDate } from '../format.js';
import { html, useEffect, useLayoutEffect, useState } from '../lib.js';
import { useLoad } from '../load.js';
import { linkTo, replaceWith } from '../router.js';
import { t } from '../texts.js';
import { Box, Button, Empty, ErrorBox, Loading, PageHead } from '../ui/parts.js';
import { stepName } from '../ui/timeline.js';
import { Pager } from './devices.js';

/** @typedef {import('../types.d.ts').AuditRecord} AuditRecord */

/** shown in columns of their own, or of use to the verification alone */
const apart = new Set(['at', 'time', 'event', 'serial', 'person', 'by', 'hash', 'after', 'writer', 'id', 'pid']);

/** @param {{ query: URLSearchParams }} props */
export function AuditPage({ query }) {
  const [serial, setSerial] = useState(query.get('serial') ?? '');
  const [asked, setAsked] = useState(serial);
  const [cursors, setCursors] = useState(/** @type {string[]} */ ([]));
  // at once with the page: a moment later the person may have left it
  useLayoutEffect(() => replaceWith(linkTo('audit', undefined, { serial })), [serial]);
  useEffect(() => {
    const timer = setTimeout(() => setAsked(serial), 300);
    return () => clearTimeout(timer);
  }, [serial]);
  const after = cursors.at(-1);
  const { data, error, loading, isOfBefore, reload } = useLoad(
    (signal) => get('/audit', { serial: asked, after, limit: 100 }, signal),
    [asked, after],
  );
  const shown = /** @type {import('../types.d.ts').AuditPage | undefined} */ (data);
  return html`
    <${PageHead} title=${t.audit.title} lead=${t.audit.lead} />
    <${Verification} />
    <form class="filters" role="search" aria-label=${t.devices.filters} onSubmit=${(/** @type {Event} */ event) => event.preventDefault()}>
      <div class="field grow"><label for="serial">${t.audit.ofDevice}</label><input id="serial" type="search" autocomplete="off" spellcheck=${false} value=${serial} onInput=${(
        /** @type {any} */ event,
      ) => {
        setSerial(event.currentTarget.value.trim());
        setCursors([]);
      }} /></div>
      <${Button} icon="refresh" onClick=${reload}>${t.actions.refresh}<//>
    </form>
    <${ErrorBox} error=${error} retry=${reload} />
    ${
      shown === undefined
        ? error === undefined
          ? html`<${Loading} />`
          : null
        : shown.records.length === 0
          ? html`<${Empty} title=${t.audit.none}><p>${asked === '' ? t.audit.noneSays : t.audit.noneOfDevice}</p><//>`
          : html`<table class=${`cards ${loading ? 'busy' : ''}`}>
            <caption class="hidden">${t.audit.title}</caption>
            <thead><tr><th scope="col">${t.audit.at}</th><th scope="col">${t.audit.event}</th><th scope="col">${t.devices.serial}</th><th scope="col">${t.audit.person}</th><th scope="col">${t.audit.more}</th></tr></thead>
            <tbody>${shown.records.map((record, place) => html`<${Row} key=${record.hash ?? place} record=${record} />`)}</tbody>
          </table>`
    }
    <${Pager} cursors=${cursors} setCursors=${setCursors} next=${shown?.next} isTurning=${isOfBefore || asked !== serial} />`;
}

/** @param {{ record: AuditRecord }} props */
function Row({ record }) {
  const at = record.at ?? /** @type {any} */ (record.time);
  const others = Object.entries(record).filter(([name]) => !apart.has(name));
  return html`<tr>
    <td data-label=${t.audit.at} class="nowrap"><time datetime=${toDate(at)?.toISOString()}>${fullTime(at)}</time></td>
    <td data-label=${t.audit.event}>${stepName(record.event)}</td>
    <td data-label=${t.devices.serial}>${record.serial === undefined ? '–' : html`<a class="mono" href=${linkTo('device', record.serial)}>${record.serial}</a>`}</td>
    <td data-label=${t.audit.person} class="person">${record.person ?? /** @type {any} */ (record.by) ?? html`<span class="muted">–</span>`}</td>
    <td data-label=${t.audit.more} class="pairs">${others.map(([name, value]) => html`<span key=${name}><span class="muted">${name}</span> <span class="mono">${typeof value === 'object' ? JSON.stringify(value) : `${value}`}</span></span>`)}</td>
  </tr>`;
}

function Verification() {
  const [verdict, setVerdict] = useState(/** @type {import('../types.d.ts').AuditVerdict | undefined} */ (undefined));
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(/** @type {any} */ (undefined));
  const verify = () => {
    setBusy(true);
    setError(undefined);
    get('/audit/verify')
      .then(setVerdict, setError)
      .finally(() => setBusy(false));
  };
  return html`<section class="panel row" aria-labelledby="verification">
    <div><h2 id="verification">${t.audit.verification}</h2><p class="muted">${t.audit.verificationSays}</p></div>
    <${Button} icon="audit" disabled=${busy} onClick=${verify}>${busy ? t.actions.busy : t.audit.verify}<//>
    <div class="whole" aria-live="polite">
      <${ErrorBox} error=${error} />
      ${
        verdict === undefined
          ? null
          : verdict.faults.length === 0
            ? html`<${Box} kind="ok"><p class="strong">${t.audit.unchanged(number(verdict.records))}</p>${verdict.head === undefined ? null : html`<p class="small">${t.audit.head} <span class="mono">${verdict.head}</span></p>`}<//>`
            : html`<${Box} kind="failed"><p class="strong">${t.audit.changed(number(verdict.faults.length), verdict.faults.length)}</p><p>${t.audit.changedCure}</p><ul>${verdict.faults.slice(0, 20).map((fault) => html`<li key=${fault}>${fault}</li>`)}</ul><//>`
      }
    </div>
  </section>`;
}

import { post } from '../api.js';
import { number, sentence } from '../format.js';
import { forgetKept, useKept } from '../kept.js';
import { html, useRef, useState } from '../lib.js';
import { goTo, linkTo } from '../router.js';
import { t } from '../texts.js';
import { keepLabels } from '../ui/labels-kept.js';
import { Box, Button, download, ErrorBox, PageHead, say, toCsv } from '../ui/parts.js';

/** @typedef {import('../types.d.ts').Preview} Preview */
/** @typedef {import('../types.d.ts').BadRow} BadRow */

/** a browser holds the file and the answer in memory; more devices than that are for `cvm devices import` */
const longest = 20 * 1024 * 1024;
const shownBadRows = 200;

/** Many devices from a spreadsheet: looked at first, then enrolled. @param {{ canAct: boolean }} props */
export function ImportPage({ canAct }) {
  const [csv, setCsv] = useKept('import csv', '');
  const [name, setName] = useKept('import name', '');
  const [preview, setPreview] = useKept('import preview', /** @type {Preview | undefined} */ (undefined));
  const [left, setLeft] = useState(/** @type {BadRow[] | undefined} */ (undefined));
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState(/** @type {any} */ (undefined));
  const fail = (/** @type {any} */ failure) => {
    setBusy(false);
    setError(failure);
  };
  const look = (/** @type {string} */ text, /** @type {string} */ from) => {
    setCsv(text);
    setName(from);
    setPreview(undefined);
    setLeft(undefined);
    setError(undefined);
    if (text.trim() === '') return;
    setBusy(true);
    post('/devices/import/preview', text).then((found) => {
      setBusy(false);
      setPreview(found);
    }, fail);
  };
  const enrol = () => {
    setBusy(true);
    setError(undefined);
    post('/devices/import', csv).then(({ enrolled, bad }) => {
      setBusy(false);
      setPreview(undefined);
      forgetKept('import');
      setLeft(bad);
      say(t.import.done(number(enrolled.length)));
      keepLabels(enrolled);
      if (bad.length === 0 && enrolled.length > 0) goTo(linkTo('labels'));
    }, fail);
  };
  return html`
    <p class="crumbs"><a href=${linkTo('devices')}>${t.nav.devices}</a></p>
    <${PageHead} title=${t.import.title} lead=${t.import.lead} />
    ${canAct ? null : html`<${Box} kind="warning">${t.viewerOnly}<//>`}
    <${FileField} name=${name} disabled=${busy || !canAct} onText=${look} onError=${setError} />
    <div aria-live="polite">
      ${busy ? html`<p class="loading">${preview === undefined ? t.import.looking : t.import.enrolling}</p>` : null}
      <${ErrorBox} error=${error} />
      ${preview === undefined ? null : html`<${Found} preview=${preview} busy=${busy || !canAct} enrol=${enrol} />`}
      ${
        left === undefined || left.length === 0
          ? null
          : html`<${Box} kind="warning"><p class="strong">${t.import.leftOut(number(left.length))}</p><p>${t.import.leftOutCure}</p><//><${BadRows} bad=${left} />
            <p><a class="button primary" href=${linkTo('labels')}>${t.import.toLabels}</a></p>`
      }
    </div>`;
}

/** @param {{ name: string, disabled: boolean, onText: (text: string, name: string) => void, onError: (error: any) => void }} props */
function FileField({ name, disabled, onText, onError }) {
  const [over, setOver] = useState(false);
  const input = useRef(/** @type {HTMLInputElement | null} */ (null));
  const take = async (/** @type {File | undefined} */ file) => {
    if (file === undefined) return;
    if (file.size > longest) return onError({ message: t.import.tooLarge, cure: t.import.tooLargeCure });
    onError(undefined);
    onText(await textOf(file), file.name);
  };
  return html`<div
    class=${`panel drop ${over ? 'over' : ''}`}
    onDragOver=${(/** @type {DragEvent} */ event) => {
      event.preventDefault();
      setOver(true);
    }}
    onDragLeave=${() => setOver(false)}
    onDrop=${(/** @type {DragEvent} */ event) => {
      event.preventDefault();
      setOver(false);
      if (!disabled) take(event.dataTransfer?.files[0]);
    }}
  >
    <div class="field">
      <label for="csv">${t.import.file}</label>
      <input id="csv" type="file" accept=".csv,text/csv,text/plain" disabled=${disabled} ref=${input} aria-describedby="csv-hint" onClick=${
        // so that the same file can be chosen again, once it was mended
        (/** @type {any} */ event) => {
          event.currentTarget.value = '';
        }
      } onChange=${(/** @type {any} */ event) => take(event.currentTarget.files?.[0])} />
      <p class="hint" id="csv-hint">${name === '' ? t.import.drop : t.import.taken(name)}</p>
    </div>
    <details>
      <summary>${t.import.format}</summary>
      <p>${t.import.formatSays}</p>
      <pre>serial,site${'\n'}PUMP-0001,north${'\n'}PUMP-0002,north</pre>
    </details>
  </div>`;
}

/** Excel's "Unicode text" is UTF-16, with a mark in front. @param {File} file */
async function textOf(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const mark = `${bytes[0]} ${bytes[1]}`;
  return new TextDecoder(mark === '255 254' ? 'utf-16le' : mark === '254 255' ? 'utf-16be' : 'utf-8').decode(bytes);
}

/** @param {{ preview: Preview, busy: boolean, enrol: () => void }} props */
const Found = ({ preview, busy, enrol }) => html`<section class="panel" aria-labelledby="found">
  <h2 id="found">${t.import.found(number(preview.rows))}</h2>
  <ul class="tally"><li class="ok"><span>${number(preview.good)}</span> ${t.import.good}</li><li class=${preview.bad.length > 0 ? 'warning' : ''}><span>${number(preview.badRows ?? preview.bad.length)}</span> ${t.import.bad}</li></ul>
  <div class="actions">
    <${Button} kind="primary" icon="add" disabled=${busy || preview.good === 0} onClick=${enrol}>${t.import.button(number(preview.good), preview.good)}<//>
    ${preview.bad.length > 0 ? html`<span class="muted">${t.import.badStay}</span>` : null}
  </div>
  ${preview.bad.length === 0 ? null : html`<${BadRows} bad=${preview.bad} />`}
</section>`;

/** @param {{ bad: BadRow[] }} props */
function BadRows({ bad }) {
  const save = () =>
    download(
      'rows-to-mend.csv',
      toCsv(
        ['line', 'serial', 'reason', 'cure'],
        bad.map(({ line, serial, reason, cure }) => [line, serial, reason, cure]),
      ),
    );
  return html`<table class="cards">
    <caption>${t.import.badRows}</caption>
    <thead><tr><th scope="col">${t.import.line}</th><th scope="col">${t.devices.serial}</th><th scope="col">${t.import.reason}</th><th scope="col">${t.import.cure}</th></tr></thead>
    <tbody>${bad
      .slice(0, shownBadRows)
      .map(
        (row) =>
          html`<tr key=${row.line}><td data-label=${t.import.line}>${number(row.line)}</td><td data-label=${t.devices.serial} class="mono">${row.serial ?? '–'}</td><td data-label=${t.import.reason}>${sentence(row.reason)}</td><td data-label=${t.import.cure}>${sentence(row.cure)}</td></tr>`,
      )}</tbody>
  </table>
  <div class="actions">${bad.length > shownBadRows ? html`<span class="muted">${t.import.moreBad(number(bad.length - shownBadRows))}</span>` : null}<${Button} icon="download" onClick=${save}>${t.import.saveBad}<//></div>`;
}

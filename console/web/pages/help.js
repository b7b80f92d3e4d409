import { get } from '../api.js';
import { sentence } from '../format.js';
import { html, useEffect, useState } from '../lib.js';
import { useLoad } from '../load.js';
import { linkTo } from '../router.js';
import { t } from '../texts.js';
import { Empty, ErrorBox, Loading, PageHead } from '../ui/parts.js';

/** Every error with its cause and its cure. @param {{ rest: string[] }} props */
export function HelpPage({ rest }) {
  const [wanted] = rest;
  const { data, error, reload } = useLoad((signal) => get('/help', {}, signal), []);
  const [text, setText] = useState('');
  const entries = /** @type {import('../types.d.ts').HelpEntry[] | undefined} */ (data);
  useEffect(() => {
    if (wanted !== undefined && entries !== undefined)
      document.getElementById(`help-${wanted}`)?.scrollIntoView({ block: 'center' });
  }, [wanted, entries]);
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = (entries ?? []).filter((entry) => {
    const all = `${entry.id} ${entry.title ?? ''} ${entry.cause} ${entry.cure}`.toLowerCase();
    return words.every((word) => all.includes(word));
  });
  return html`
    <${PageHead} title=${t.help.title} lead=${t.help.lead} />
    <form class="filters" role="search" aria-label=${t.devices.filters} onSubmit=${(/** @type {Event} */ event) => event.preventDefault()}>
      <div class="field grow"><label for="help">${t.help.find}</label><input id="help" type="search" autocomplete="off" placeholder=${t.help.findHint} value=${text} onInput=${(/** @type {any} */ event) => setText(event.currentTarget.value)} /></div>
    </form>
    <${ErrorBox} error=${error} retry=${reload} />
    ${entries === undefined ? (error === undefined ? html`<${Loading} />` : null) : null}
    ${entries !== undefined && shown.length === 0 ? html`<${Empty} title=${t.help.none}><p>${t.help.noneCure}</p><//>` : null}
    <div class="help">${shown.map(
      (
        entry,
      ) => html`<article key=${entry.id} id=${`help-${entry.id}`} class=${`panel ${entry.id === wanted ? 'wanted' : ''}`} aria-labelledby=${`title-${entry.id}`}>
        <h2 id=${`title-${entry.id}`}><a href=${linkTo('help', entry.id)}>${sentence(entry.title ?? entry.id)}</a>${entry.title === undefined || entry.title === entry.id ? null : html` <span class="mono small muted">${entry.id}</span>`}</h2>
        <p>${sentence(entry.cause)}</p>
        <p class="cure"><span class="strong">${t.cure}</span> ${sentence(entry.cure)}</p>
      </article>`,
    )}</div>`;
}

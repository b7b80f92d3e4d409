import { get } from '../api.js';
import { html, useState } from '../lib.js';
import { useLoad } from '../load.js';
import { t } from '../texts.js';
import { Badge, ErrorBox, Loading, PageHead } from '../ui/parts.js';

/** Settings as they are, and where each comes from. They are changed where they come from, not here. */
export function SettingsPage() {
  const { data, error, reload } = useLoad((signal) => get('/settings', {}, signal), []);
  const [text, setText] = useState('');
  const [changedOnly, setChangedOnly] = useState(false);
  const settings = /** @type {import('../types.d.ts').Setting[] | undefined} */ (data);
  const hasMeanings = settings?.some((setting) => setting.meaning) ?? false;
  const wanted = text.toLowerCase();
  const shown = (settings ?? []).filter(
    (setting) =>
      (!changedOnly || setting.from !== 'default') &&
      `${setting.name} ${setting.meaning ?? ''}`.toLowerCase().includes(wanted),
  );
  return html`
    <${PageHead} title=${t.settings.title} lead=${t.settings.lead} />
    <form class="filters" role="search" aria-label=${t.devices.filters} onSubmit=${(/** @type {Event} */ event) => event.preventDefault()}>
      <div class="field grow"><label for="setting">${t.settings.find}</label><input id="setting" type="search" autocomplete="off" value=${text} onInput=${(/** @type {any} */ event) => setText(event.currentTarget.value)} /></div>
      <label class="check"><input type="checkbox" checked=${changedOnly} onChange=${(/** @type {any} */ event) => setChangedOnly(event.currentTarget.checked)} />${t.settings.changedOnly}</label>
    </form>
    <${ErrorBox} error=${error} retry=${reload} />
    ${
      settings === undefined
        ? error === undefined
          ? html`<${Loading} />`
          : null
        : html`<table class="cards">
          <caption class="hidden">${t.settings.title}</caption>
          <thead><tr><th scope="col">${t.settings.name}</th><th scope="col">${t.settings.value}</th><th scope="col">${t.settings.from}</th>${hasMeanings ? html`<th scope="col">${t.settings.meaning}</th>` : null}</tr></thead>
          <tbody>${shown.map(
            (setting) => html`<tr key=${setting.name}>
              <th scope="row" class="mono">${setting.name}</th>
              <td data-label=${t.settings.value} class="mono breaks">${setting.value === undefined || setting.value === '' ? html`<span class="muted">${t.settings.notSet}</span>` : `${setting.value}`}</td>
              <td data-label=${t.settings.from}><${Badge} outcome=${setting.from === 'default' ? 'plain' : 'info'}>${t.settings.sources[setting.from] ?? setting.from}<//></td>
              ${hasMeanings ? html`<td data-label=${t.settings.meaning}>${setting.meaning ?? ''}</td>` : null}
            </tr>`,
          )}</tbody>
        </table>`
    }`;
}

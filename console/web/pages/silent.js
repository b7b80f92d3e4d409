import { get } from '../api.js';
import { fullTime, number, sentence } from '../format.js';
import { html, useState } from '../lib.js';
import { useLive } from '../live.js';
import { useLoad } from '../load.js';
import { linkTo } from '../router.js';
import { t } from '../texts.js';
import { Box, Button, download, Empty, ErrorBox, Loading, PageHead, Time, toCsv } from '../ui/parts.js';
import { Pager } from './devices.js';

/** Devices that got a certificate and never connected with it: each is a visit to the site. */
export function SilentPage() {
  const [cursors, setCursors] = useState(/** @type {string[]} */ ([]));
  const after = cursors.at(-1);
  const { data, error, loading, isOfBefore, reload } = useLoad(
    (signal) => get('/devices', { silent: 'true', after, limit: 100 }, signal),
    [after],
  );
  useLive('resync', reload);
  const shown = /** @type {import('../types.d.ts').DevicePage | undefined} */ (data);
  const save = () =>
    download(
      'never-connected.csv',
      toCsv(
        ['serial', 'site', 'registeredAt'],
        (shown?.devices ?? []).map((device) => [device.serial, device.site, device.registeredAt]),
      ),
    );
  return html`
    <${PageHead} title=${t.silent.title} lead=${!shown?.total ? t.silent.lead : t.silent.count(number(shown.total), shown.total)}>
      ${shown === undefined || shown.devices.length === 0 ? null : html`<${Button} icon="download" onClick=${save}>${t.silent.save}<//>`}
    <//>
    <${ErrorBox} error=${error} retry=${reload} />
    <${Asked} asked=${shown?.asked} />
    ${
      shown === undefined
        ? error === undefined
          ? html`<${Loading} />`
          : null
        : shown.devices.length === 0
          ? html`<${None} asked=${shown.asked} />`
          : html`<${Box}><p class="strong">${t.silent.check}</p><ol>${t.silent.checks.map((line) => html`<li key=${line}>${line}</li>`)}</ol><//>
            <table class=${`cards ${loading ? 'busy' : ''}`}>
              <caption class="hidden">${t.silent.title}</caption>
              <thead><tr><th scope="col">${t.devices.serial}</th><th scope="col">${t.devices.site}</th><th scope="col">${t.silent.silentSince}</th></tr></thead>
              <tbody>${shown.devices.map(
                (device) => html`<tr key=${device.serial}>
                  <th scope="row"><a class="mono" href=${linkTo('device', device.serial)}>${device.serial}</a></th>
                  <td data-label=${t.devices.site}>${device.site ?? '–'}</td>
                  <td data-label=${t.silent.silentSince} title=${fullTime(device.registeredAt)}><${Time} at=${device.registeredAt} /></td>
                </tr>`,
              )}</tbody>
            </table>`
    }
    <${Pager} cursors=${cursors} setCursors=${setCursors} next=${shown?.next} isTurning=${isOfBefore} />`;
}

/** @typedef {import('../types.d.ts').DevicePage['asked']} AskedAt */

/** Why the list may be incomplete: a device that AWS was not asked about may be silent, too. @param {{ asked: AskedAt }} props */
function Asked({ asked }) {
  if (asked === undefined) return null;
  if (asked.reason !== undefined)
    return html`<${Box} kind="warning"><p class="strong">${t.silent.cannotAsk}</p><p>${sentence(asked.reason)}</p><//>`;
  return asked.unasked === 0 ? null : html`<p>${t.silent.unasked(number(asked.unasked), asked.unasked)}</p>`;
}

/** @param {{ asked: AskedAt }} props */
const None = ({ asked }) => {
  if (asked === undefined) return html`<${Empty} title=${t.silent.notAsked}><p>${t.silent.notAskedSays}</p><//>`;
  return asked.reason !== undefined || asked.unasked > 0
    ? null
    : html`<${Empty} title=${t.silent.none}><p>${t.silent.noneSays}</p><//>`;
};

import { fullTime, number } from '../format.js';
import { html, useState } from '../lib.js';
import { linkTo } from '../router.js';
import { useStore } from '../store.js';
import { t } from '../texts.js';
import { keptLabels, putLabelsAway } from '../ui/labels-kept.js';
import { Box, Button, Dialog, download, Empty, LinkButton, PageHead, toCsv } from '../ui/parts.js';
import { QrCode } from '../ui/qr.js';

/** thousands of QR codes at once would stop a slow machine for seconds: the rest is printed sheet by sheet */
const sheet = 120;
const sizes = /** @type {const} */ (['a4', 'large', 'roll']);

/** The only time that tokens are shown: print them, or save them, and put them away. */
export function LabelsPage() {
  const labels = useStore(keptLabels);
  const [place, setPlace] = useState(0);
  const [size, setSize] = useState('a4');
  const [asked, setAsked] = useState(false);
  if (labels.length === 0) {
    return html`<p class="crumbs"><a href=${linkTo('devices')}>${t.nav.devices}</a></p>
      <${PageHead} title=${t.labels.title} />
      <${Empty} title=${t.labels.none}><p>${t.labels.noneCure}</p><${LinkButton} href=${linkTo('devices')}>${t.nav.devices}<//><//>`;
  }
  const good = labels.filter(({ worthless }) => worthless === undefined);
  const shown = good.slice(place, place + sheet);
  const save = () =>
    download(
      'device-tokens.csv',
      toCsv(
        ['serial', 'token', 'site'],
        good.map(({ serial, token, site }) => [serial, token, site]),
      ),
    );
  return html`
    <p class="crumbs no-print"><a href=${linkTo('devices')}>${t.nav.devices}</a></p>
    <${PageHead} title=${t.labels.title} lead=${t.labels.count(number(good.length), good.length)}>
      <${Button} icon="download" onClick=${save}>${t.labels.save}<//>
      <${Button} icon="print" kind="primary" onClick=${() => window.print()}>${t.labels.print}<//>
    <//>
    <div class="no-print">
      <${Box} kind="warning"><p class="strong">${t.labels.once}</p><p>${t.labels.onceCure}</p><//>
      <div class="filters">
        <div class="field"><label for="size">${t.labels.size}</label><select id="size" value=${size} onChange=${(/** @type {any} */ event) => setSize(event.currentTarget.value)}>${sizes.map((each) => html`<option key=${each} value=${each}>${t.labels.sizes[each]}</option>`)}</select></div>
        ${
          good.length > sheet
            ? html`<div class="actions"><${Button} icon="back" disabled=${place === 0} onClick=${() => setPlace(place - sheet)}>${t.pager.back}<//><span aria-live="polite">${t.labels.range(number(place + 1), number(place + shown.length), number(good.length))}</span><${Button} icon="next" disabled=${place + sheet >= good.length} onClick=${() => setPlace(place + sheet)}>${t.pager.next}<//></div>`
            : null
        }
        <${Button} kind="quiet" icon="close" onClick=${() => setAsked(true)}>${t.labels.putAway}<//>
      </div>
    </div>
    <${WorthlessBox} labels=${labels} />
    <ul class=${`labels ${size}`} aria-label=${t.labels.title}>${shown.map((label) => html`<${Label} key=${label.serial} label=${label} />`)}</ul>
    ${
      asked
        ? html`<${Dialog}
          title=${t.labels.putAwayTitle}
          onClose=${() => setAsked(false)}
          onSubmit=${() => {
            putLabelsAway();
            setAsked(false);
          }}
          footer=${html`<${Button} onClick=${() => setAsked(false)}>${t.actions.cancel}<//><${Button} type="submit" kind="danger">${t.labels.putAway}<//>`}
        ><p>${t.labels.putAwayMeans}</p><//>`
        : null
    }`;
}

/** Labels that another person has made worthless are named, and are not printed or saved. @param {{ labels: import('../types.d.ts').WithToken[] }} props */
function WorthlessBox({ labels }) {
  const gone = labels.flatMap(({ worthless }) => worthless ?? []);
  if (gone.length === 0) return null;
  return html`<div class="no-print"><${Box} kind="warning">
    <p class="strong">${t.labels.worthless}</p>
    <ul>${gone.slice(0, 50).map((each) => html`<li key=${each.serial}><a class="mono" href=${linkTo('device', each.serial)}>${each.serial}</a>: ${t.labels.worthlessSays(each.why, each.at === undefined ? '' : fullTime(each.at), each.by ?? '')}</li>`)}</ul>
    <p>${t.labels.worthlessCure}</p>
  <//></div>`;
}

/** The QR code is what a commissioning tool reads: JSON with serial and token. @param {{ label: import('../types.d.ts').WithToken }} props */
const Label = ({ label }) => html`<li class="label">
  <${QrCode} text=${JSON.stringify({ serial: label.serial, token: label.token })} label=${t.labels.qr(label.serial)} />
  <div>
    <p class="label-serial">${label.serial}</p>
    <p class="label-token mono">${label.token}</p>
    ${label.site === undefined ? null : html`<p class="label-site">${label.site}</p>`}
  </div>
</li>`;

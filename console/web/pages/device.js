import { get } from '../api.js';
import { fullTime, sentence } from '../format.js';
import { html, useState } from '../lib.js';
import { mayConcern, useDeviceEvents, useLive } from '../live.js';
import { useCalm, useLoad } from '../load.js';
import { goTo, linkTo } from '../router.js';
import { t } from '../texts.js';
import { Confirm } from '../ui/bulk.js';
import { Journey } from '../ui/journey.js';
import { Box, Button, Empty, ErrorBox, LinkButton, Loading, PageHead, StateBadge, Time } from '../ui/parts.js';
import { Timeline } from '../ui/timeline.js';

/** One device: what is the matter with it, what to do, and every step that is known. @param {{ rest: string[], canAct: boolean }} props */
export function DevicePage({ rest, canAct }) {
  const [serial = ''] = rest;
  const { data, error, reload } = useLoad(
    (signal) => get(`/devices/${encodeURIComponent(serial)}`, {}, signal),
    [serial],
  );
  const [asked, setAsked] = useState(/** @type {import('../types.d.ts').BulkAction | undefined} */ (undefined));
  const calmly = useCalm(reload, 300);
  // brokers and workers write down what they saw a moment after it happened
  const oncemore = useCalm(reload, 3000);
  useDeviceEvents((events) => {
    if (events.some((event) => event.serial === serial)) calmly();
    if (mayConcern(events, (named) => named === serial)) oncemore();
  });
  useLive('resync', reload);
  const found = /** @type {import('../types.d.ts').Explanation | undefined} */ (data);
  const device = found?.device;
  const isUnknown = /** @type {string | undefined} */ (device?.state) === 'not-enrolled';
  const steps = found?.timeline ?? [];
  return html`
    <p class="crumbs"><a href=${linkTo('devices')}>${t.nav.devices}</a></p>
    <${PageHead} title=${serial}>
      ${
        canAct && device !== undefined && !isUnknown
          ? html`
            <${Button} onClick=${() => setAsked('reissue')}>${t.acts.reissue.button}<//>
            ${
              device.state === 'blocked'
                ? html`<${Button} onClick=${() => setAsked('unblock')}>${t.acts.unblock.button}<//>`
                : html`<${Button} onClick=${() => setAsked('block')}>${t.acts.block.button}<//>`
            }
            <${Button} kind="danger" onClick=${() => setAsked('remove')}>${t.acts.remove.button}<//>`
          : null
      }
    <//>
    <${ErrorBox} error=${error} retry=${reload} />
    ${found === undefined ? (error === undefined ? html`<${Loading} />` : null) : html`<${Verdict} found=${found} act=${canAct ? setAsked : undefined} />`}
    ${device === undefined || isUnknown ? null : html`<${Facts} device=${device} />`}
    ${
      found === undefined
        ? null
        : html`<section class="panel" aria-labelledby="timeline">
          <h2 id="timeline">${t.device.timeline}</h2>
          ${
            steps.length === 0
              ? html`<${Empty} title=${t.device.nothing}><p>${t.device.nothingCure}</p><//>`
              : html`<${Journey} steps=${steps} device=${device} /><${Timeline} steps=${steps} />`
          }
        </section>`
    }
    ${
      asked === undefined
        ? null
        : html`<${Confirm}
          action=${asked}
          serials=${[serial]}
          onClose=${() => setAsked(undefined)}
          onDone=${() => {
            if (asked === 'remove') goTo(linkTo('devices'));
            setAsked(undefined);
            reload();
          }}
        />`
    }`;
}

/**
 * @param {{ found: import('../types.d.ts').Explanation, act?: (action: import('../types.d.ts').BulkAction) => void }} props
 * `act`: absent for a person that only looks
 */
function Verdict({ found, act }) {
  const verdict = found.verdict;
  if (verdict === undefined) return null;
  const kind = verdict.state === 'ok' ? 'ok' : verdict.state === 'waiting' ? 'info' : 'warning';
  return html`<section aria-label=${t.device.verdict}><${Box} kind=${kind} class="large">
    <p class="strong">${sentence(verdict.title ?? verdict.cause ?? verdict.id)}</p>
    ${verdict.title === undefined || !verdict.cause ? null : html`<p>${sentence(verdict.cause)}</p>`}
    ${verdict.cure ? html`<p><span class="strong">${t.cure}</span> ${sentence(verdict.cure)}</p>` : null}
    ${act === undefined ? null : html`<${Here} cure=${verdict.cure ?? ''} act=${act} />`}
    ${
      found.near === undefined
        ? null
        : html`<p><span class="strong">${t.device.near}</span> ${found.near.map((serial, place) => html`${place === 0 ? '' : ', '}<a key=${serial} class="mono" href=${linkTo('device', serial)}>${serial}</a>`)}?</p>`
    }
    ${verdict.state === 'problem' ? html`<p class="small"><a href=${linkTo('help', verdict.id)}>${t.errors.about(verdict.id)}</a></p>` : null}
  <//></section>
  ${(found.missing ?? []).length === 0 ? null : html`<${Box} kind="warning"><p>${t.device.missing}</p><ul>${found.missing?.map((line) => html`<li key=${line}>${line}</li>`)}</ul><//>`}`;
}

/** What the cure names as a command, this page can do. @param {{ cure: string, act: (action: import('../types.d.ts').BulkAction) => void }} props */
function Here({ cure, act }) {
  const [, command] = /\bcvm devices (reissue|unblock|add)\b/.exec(cure) ?? [];
  if (command === undefined) return null;
  if (command === 'add')
    return html`<p><${LinkButton} icon="add" href=${linkTo('enrol')}>${t.devices.enrolOne}<//></p>`;
  const action = command === 'reissue' ? 'reissue' : 'unblock';
  return html`<p><${Button} onClick=${() => act(action)}>${t.device.here(t.acts[action].button)}<//></p>`;
}

/** @param {{ device: import('../types.d.ts').Device }} props */
const Facts = ({ device }) => html`<section class="panel" aria-labelledby="facts">
  <h2 id="facts" class="hidden">${t.device.facts}</h2>
  <dl class="facts across">
    <div><dt>${t.devices.state}</dt><dd><${StateBadge} state=${device.state} /></dd></div>
    <div><dt>${t.devices.site}</dt><dd>${device.site ?? t.device.noSite}</dd></div>
    <div><dt>${t.devices.requestedAt}</dt><dd title=${fullTime(device.requestedAt)}><${Time} at=${device.requestedAt} none=${t.device.never} /></dd></div>
    <div><dt>${t.devices.registeredAt}</dt><dd><${Time} at=${device.registeredAt ?? device.issuedAt} none=${t.device.never} /></dd></div>
    <div><dt>${t.devices.cameAlive}</dt><dd><${CameAlive} device=${device} /></dd></div>
    ${device.certificateId === undefined ? null : html`<div class="whole"><dt>${t.device.certificate}</dt><dd class="mono">${device.certificateId}</dd></div>`}
  </dl>
</section>`;

/** When it was first seen at AWS, or that it never was. @param {{ device: import('../types.d.ts').Device }} props */
function CameAlive({ device }) {
  if (device.seenAt !== undefined) return html`<span class="alive"><${Time} at=${device.seenAt} /></span>`;
  if (device.silentSince !== undefined) return html`<span class="badge warning">${t.devices.silent}</span>`;
  return html`<span class="muted">–</span>`;
}

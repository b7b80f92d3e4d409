import { get } from '../api.js';
import { gatewayNow } from '../clock.js';
import { clockTime, day, duration, number, sentence, toDate } from '../format.js';
import { html, useEffect, useRef, useState } from '../lib.js';
import { liveState, useDeviceEvents, useLive } from '../live.js';
import { useLoad } from '../load.js';
import { linkTo } from '../router.js';
import { useStore } from '../store.js';
import { t } from '../texts.js';
import { MinutesChart } from '../ui/chart.js';
import { Icon } from '../ui/icons.js';
import { ErrorBox, Loading } from '../ui/parts.js';
import { stepName } from '../ui/timeline.js';

/** @typedef {import('../types.d.ts').Now} Now */
/** @typedef {import('../types.d.ts').Check} Check */

/** how many of the last events are shown, and how often they are drawn however many arrive */
const feedLength = 12;
const feedPause = 400;
/** a connection that is lost for less than these milliseconds is no news for a wall */
const lostAfter = 5000;

/** The figures that a person looks at from across the room. */
export function NowPage() {
  const { data, error, reload } = useLoad((signal) => get('/now', {}, signal), []);
  const [heard, setHeard] = useState(/** @type {Now | undefined} */ (undefined));
  const isLost = useLost();
  useLive('now', (fresh) => setHeard((before) => ({ ...before, ...fresh })));
  useLive('resync', () => {
    // what was heard before the break is older than what is loaded now
    setHeard(undefined);
    reload();
  });
  useEffect(() => {
    document.title = `${t.nav.now} · cvm-gateway`;
  }, []);
  if (data === undefined && heard === undefined && error !== undefined)
    return html`<h1>${t.nav.now}</h1><${ErrorBox} error=${error} retry=${reload} />`;
  if (data === undefined && heard === undefined) return html`<h1 class="hidden">${t.nav.now}</h1><${Loading} />`;
  /** @type {Now} */
  const now = { ...data, ...heard };
  const needs = (now.checks ?? []).filter((check) => check.state === 'failed' || check.state === 'warning');
  const unknown = (now.checks ?? []).some((check) => check.state === 'unknown');
  return html`
    ${isLost ? html`<${Away} now=${now} />` : html`<${Verdict} now=${now} needs=${needs} unknown=${unknown} />`}
    ${needs.length === 0 ? null : html`<${Needs} checks=${needs} />`}
    <${Figures} now=${now} />
    <div class="grid two">
      <section class="panel wide-panel" aria-labelledby="minutes"><h2 id="minutes">${t.now.lastHour}</h2><${MinutesChart} minutes=${now.perMinute ?? []} /></section>
      <${Feed} />
      <${Health} now=${now} />
      <${Refusals} refusals=${now.refusals ?? {}} />
    </div>`;
}

function useLost() {
  const state = useStore(liveState);
  const [isLost, setLost] = useState(false);
  useEffect(() => {
    if (state === 'live') return setLost(false);
    if (state !== 'lost') return;
    const timer = setTimeout(() => setLost(true), lostAfter);
    return () => clearTimeout(timer);
  }, [state]);
  return isLost;
}

/** A green page of a gateway that is away would be a lie. @param {{ now: Now }} props */
const Away = ({ now }) => html`<section class="verdict warning" role="alert" aria-labelledby="verdict">
  <${Icon} name="warning" />
  <div><h1 id="verdict" tabindex="-1">${t.errors.unreachable}</h1><p>${t.now.awayLead(clockTime(now.at ?? gatewayNow()))} ${t.errors.unreachableCure}</p></div>
</section>`;

/** @param {Check[]} needs @param {Now} now @param {boolean} unknown */
function verdictOf(needs, now, unknown) {
  if (needs.some((check) => check.state === 'failed') || (now.ok === false && needs.length === 0)) return 'failed';
  return needs.length > 0 || unknown ? 'warning' : 'ok';
}

/** @param {{ now: Now, needs: Check[], unknown: boolean }} props */
function Verdict({ now, needs, unknown }) {
  const state = verdictOf(needs, now, unknown);
  const failed = needs.filter((check) => check.state === 'failed').length;
  const sentence =
    state === 'ok'
      ? t.now.well
      : state === 'failed'
        ? t.now.failed(failed)
        : needs.length > 0
          ? t.now.warning(needs.length)
          : t.now.unknown;
  return html`<section class=${`verdict ${state}`} aria-labelledby="verdict">
    <${Icon} name=${state} />
    <div><h1 id="verdict" tabindex="-1">${sentence}</h1><p>${state === 'ok' ? t.now.wellLead : t.now.needLead}</p></div>
    ${now.at === undefined ? null : html`<p class="as-of">${t.now.asOf(clockTime(now.at))}</p>`}
  </section>`;
}

/** @param {{ checks: Check[] }} props */
const Needs = ({ checks }) => html`<section class="needs" aria-labelledby="needs">
  <h2 id="needs">${t.now.needsYou}</h2>
  <ul>${checks.map(
    (check) => html`<li key=${check.id} class=${`box ${check.state}`}>
      <${Icon} name=${check.state} />
      <div><h3>${title(check)}</h3>${check.says === undefined ? null : html`<p>${sentence(check.says)}</p>`}${check.cure === undefined ? null : html`<p><span class="strong">${t.cure}</span> ${sentence(check.cure)}</p>`}</div>
    </li>`,
  )}</ul>
</section>`;

/** @param {Check} check */
const title = (check) => check.title ?? t.checks[check.id] ?? check.id;

/** @param {{ now: Now }} props */
function Figures({ now }) {
  const minutes = now.perMinute ?? [];
  // the one that goes on has only begun
  const last = minutes.at(-2);
  const refused = Object.values(now.refusals ?? {}).reduce((sum, n) => sum + n, 0);
  const vended = minutes.reduce((sum, minute) => sum + minute.vended, 0);
  return html`<ul class="figures" aria-label=${t.now.figures}>
    <li><${Figure} label=${t.now.vendedHour} value=${number(vended)} note=${t.now.lastMinute(number(last?.vended ?? 0))} href=${linkTo('devices', undefined, { state: 'registered' })} /></li>
    <li><${Figure} label=${t.now.inLine} value=${number(now.line?.length ?? 0)} note=${now.line?.length ? t.now.lastServed(duration(now.line.etaSeconds)) : t.now.noneWaits} href=${linkTo('line')} /></li>
    <li><${Figure} label=${t.now.refusedHour} value=${number(refused)} note=${refused === 0 ? t.now.noneRefused : t.now.whyBelow} state=${refused > 0 ? 'warning' : ''} href="#/audit" /></li>
    ${
      now.devices?.silent === undefined
        ? null
        : html`<li><${Figure} label=${t.now.silent} value=${number(now.devices.silent)} note=${now.devices.silent === 0 ? t.now.allSeen : t.now.truckRolls} state=${now.devices.silent > 0 ? 'warning' : ''} href=${linkTo('silent')} /></li>`
    }
  </ul>`;
}

/** @param {{ label: string, value: string, note: string, href: string, state?: string }} props */
const Figure = ({ label, value, note, href, state = '' }) =>
  html`<a class=${`figure ${state}`} href=${href}><span class="figure-label">${label}</span><span class="figure-value">${value}</span><span class="figure-note">${note}</span></a>`;

/** @param {{ now: Now }} props */
function Health({ now }) {
  return html`<section class="panel" aria-labelledby="health">
    <h2 id="health">${t.now.health}</h2>
    <ul class="checks">${(now.checks ?? []).map(
      (check) =>
        html`<li key=${check.id} class=${check.state}><${Icon} name=${check.state === 'unknown' ? 'help' : check.state} /><span class="strong">${title(check)}</span><span class="says">${check.says ?? t.outcomes[check.state] ?? check.state}</span></li>`,
    )}</ul>
    ${
      (now.quotas ?? []).length === 0
        ? null
        : html`<h3>${t.now.quotas}</h3><ul class="bars">${now.quotas?.map((quota) => {
            const share = quota.limitPerSecond > 0 ? quota.usedPerSecond / quota.limitPerSecond : 0;
            return html`<li key=${quota.name}><span class="mono">${quota.name}</span><span class="bar-value">${t.now.ofPerSecond(number(Math.round(quota.usedPerSecond * 10) / 10), number(quota.limitPerSecond))}</span><meter min="0" max="1" value=${Math.min(1, share)} aria-label=${quota.name}></meter></li>`;
          })}</ul>`
    }
    ${
      (now.certificates ?? []).length === 0
        ? null
        : html`<h3>${t.now.certificates}</h3><dl class="facts">${now.certificates?.map(
            (certificate) =>
              html`<div key=${certificate.name}><dt>${certificate.name}</dt><dd>${t.now.until(day(certificate.notAfter), daysLeft(certificate.notAfter))}</dd></div>`,
          )}</dl>`
    }
  </section>`;
}

/** @param {import('../types.d.ts').Time} time */
const daysLeft = (time) => Math.floor(((toDate(time)?.getTime() ?? 0) - gatewayNow()) / 86_400_000);

/** @param {{ refusals: Record<string, number> }} props */
function Refusals({ refusals }) {
  const sorted = Object.entries(refusals).sort(([, a], [, b]) => b - a);
  const most = Math.max(1, ...sorted.map(([, count]) => count));
  return html`<section class="panel" aria-labelledby="refusals">
    <h2 id="refusals">${t.now.refusals}</h2>
    ${
      sorted.length === 0
        ? html`<p class="muted">${t.now.noneRefused}</p>`
        : html`<ul class="bars">${sorted.map(
            ([code, count]) =>
              html`<li key=${code}><a href=${linkTo('help', code)}>${code}</a><span class="bar-value">${number(count)}</span><span class="bar" aria-hidden="true"><span style=${{ width: `${(100 * count) / most}%` }}></span></span></li>`,
          )}</ul>`
    }
  </section>`;
}

/** What devices do at this moment; when hundreds arrive a second, the last of them. */
function Feed() {
  const [events, setEvents] = useState(/** @type {(import('../types.d.ts').DeviceEvent & { id: number })[]} */ ([]));
  const waiting = useRef(/** @type {(import('../types.d.ts').DeviceEvent & { id: number })[]} */ ([]));
  const timer = useRef(0);
  const count = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  useDeviceEvents((fresh) => {
    for (const event of fresh) waiting.current.push({ ...event, id: ++count.current });
    waiting.current = waiting.current.slice(-feedLength);
    if (timer.current !== 0) return;
    timer.current = window.setTimeout(() => {
      timer.current = 0;
      const arrived = waiting.current.reverse();
      waiting.current = [];
      setEvents((before) => [...arrived, ...before].slice(0, feedLength));
    }, feedPause);
  });
  return html`<section class="panel" aria-labelledby="feed">
    <h2 id="feed">${t.now.feed}</h2>
    ${
      events.length === 0
        ? html`<p class="muted">${t.now.feedEmpty}</p>`
        : html`<ul class="feed">${events.map((event) => {
            if (event.event === 'more')
              return html`<li key=${event.id} class="more-events">${t.now.more(number(event.more))}</li>`;
            const outcome = event.outcome ?? (event.errorCode === undefined ? 'ok' : 'refused');
            return html`<li key=${event.id} class=${outcome}><${Icon} name=${outcome} />${
              event.serial === undefined
                ? html`<span class="muted">${t.unknownSerial}</span>`
                : html`<a class="mono" href=${linkTo('device', event.serial)}>${event.serial}</a>`
            }<span class="muted">${stepName(event.event ?? event.step ?? '')}${event.errorCode === undefined ? '' : ` · ${event.errorCode}`}</span><time>${clockTime(event.at ?? gatewayNow())}</time></li>`;
          })}</ul>`
    }
  </section>`;
}

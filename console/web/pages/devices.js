import { get } from '../api.js';
import { number } from '../format.js';
import { html, useEffect, useLayoutEffect, useRef, useState } from '../lib.js';
import { mayConcern, useDeviceEvents, useLive } from '../live.js';
import { useCalm, useLoad } from '../load.js';
import { linkTo, replaceWith } from '../router.js';
import { t } from '../texts.js';
import { BulkBar } from '../ui/bulk.js';
import { Button, Empty, ErrorBox, LinkButton, Loading, PageHead, StateBadge, Time } from '../ui/parts.js';

/** @typedef {import('../types.d.ts').DevicePage} Page */
/** @typedef {{ prefix: string, state: string, site: string, silent: string }} Filters */

const pageSize = 50;

/** The cursors of the pages up to the one that was shown last: who comes back from a device finds the same page, and the way to the first. */
let walked = /** @type {string[]} */ ([]);

/** @param {string | null} after of the address */
const walkedTo = (after) => (after === null ? [] : walked.at(-1) === after ? walked : [after]);
const states = ['enrolled', 'provisioning', 'registered', 'blocked'];

/** @param {{ query: URLSearchParams, canAct: boolean }} props */
export function DevicesPage({ query, canAct }) {
  const [filters, setFilters] = useState(/** @type {Filters} */ (readFilters(query)));
  const [asked, setAsked] = useState(filters);
  // the cursors of the pages before this one: a table of a million rows is walked, not counted
  const [cursors, setCursors] = useState(/** @type {string[]} */ (walkedTo(query.get('after'))));
  const [selected, setSelected] = useState(/** @type {Set<string>} */ (new Set()));
  useEffect(() => {
    const timer = setTimeout(() => setAsked(filters), 250);
    return () => clearTimeout(timer);
  }, [filters]);
  const after = cursors.at(-1);
  // at once with the page: a moment later the person may have left it
  useLayoutEffect(() => {
    walked = cursors;
    replaceWith(linkTo('devices', undefined, { ...filters, after }));
  }, [filters, after]);
  const { data, error, loading, isOfBefore, reload } = useLoad(
    (signal) => get('/devices', { ...asked, after, limit: pageSize }, signal),
    [asked, after],
  );
  const shown = /** @type {Page | undefined} */ (data);
  const calmly = useCalm(reload, 1500);
  useDeviceEvents((events) => {
    if (mayConcern(events, (serial) => shown?.devices.some((device) => device.serial === serial) ?? false)) calmly();
  });
  useLive('resync', reload);
  const change = (/** @type {Partial<Filters>} */ part) => {
    setFilters({ ...filters, ...part });
    setCursors([]);
    setSelected(new Set());
  };
  const isFiltered = Object.values(asked).some((value) => value !== '');
  return html`
    <${PageHead} title=${t.nav.devices} lead=${shown?.total === undefined ? undefined : t.devices.total(number(shown.total), isFiltered)}>
      ${
        canAct
          ? html`<${LinkButton} icon="file" href=${linkTo('import')}>${t.devices.fromFile}<//><${LinkButton} icon="add" kind="primary" href=${linkTo('enrol')}>${t.devices.enrolOne}<//>`
          : null
      }
    <//>
    <${FilterBar} filters=${filters} change=${change} />
    <${ErrorBox} error=${error} retry=${reload} />
    ${
      shown === undefined
        ? error === undefined
          ? html`<${Loading} />`
          : null
        : shown.devices.length === 0
          ? html`<${Nothing} isFiltered=${isFiltered} serial=${asked.prefix} canAct=${canAct} clear=${() => change({ prefix: '', state: '', site: '', silent: '' })} />`
          : html`
            <${BulkBar} selected=${selected} clear=${() => setSelected(new Set())} done=${reload} />
            <div class=${loading ? 'busy' : ''}><${DeviceTable} devices=${shown.devices} selected=${canAct ? selected : undefined} select=${setSelected} /></div>`
    }
    <${Pager}
      cursors=${cursors}
      setCursors=${setCursors}
      next=${shown?.next}
      isTurning=${isOfBefore || asked !== filters}
    />`;
}

/** @param {URLSearchParams} query @returns {Filters} */
const readFilters = (query) => ({
  prefix: query.get('prefix') ?? '',
  state: query.get('state') ?? '',
  site: query.get('site') ?? '',
  silent: query.get('silent') ?? '',
});

/** @param {{ filters: Filters, change: (part: Partial<Filters>) => void }} props */
const FilterBar = ({
  filters,
  change,
}) => html`<form class="filters" role="search" aria-label=${t.devices.filters} onSubmit=${(/** @type {Event} */ event) => event.preventDefault()}>
  <div class="field grow">
    <label for="prefix">${t.devices.search}</label>
    <input id="prefix" type="search" autocomplete="off" spellcheck=${false} placeholder=${t.devices.searchHint} value=${filters.prefix} onInput=${(/** @type {any} */ event) => change({ prefix: event.currentTarget.value.trim() })} />
  </div>
  <div class="field">
    <label for="state">${t.devices.state}</label>
    <select id="state" value=${filters.state} onChange=${(/** @type {any} */ event) => change({ state: event.currentTarget.value })}>
      <option value="">${t.devices.anyState}</option>
      ${states.map((state) => html`<option key=${state} value=${state}>${t.states[state]}</option>`)}
    </select>
  </div>
  <div class="field">
    <label for="site">${t.devices.site}</label>
    <input id="site" autocomplete="off" placeholder=${t.devices.anySite} value=${filters.site} onInput=${(/** @type {any} */ event) => change({ site: event.currentTarget.value.trim() })} />
  </div>
  <label class="check"><input type="checkbox" checked=${filters.silent === 'true'} onChange=${(/** @type {any} */ event) => change({ silent: event.currentTarget.checked ? 'true' : '' })} />${t.devices.silentOnly}</label>
</form>`;

/** @param {{ isFiltered: boolean, serial: string, canAct: boolean, clear: () => void }} props */
const Nothing = ({ isFiltered, serial, canAct, clear }) =>
  isFiltered
    ? html`<${Empty} title=${t.devices.noneMatch}><p>${t.devices.noneMatchCure}</p>${serial === '' ? null : html`<${LinkButton} kind="primary" href=${linkTo('device', serial)}>${t.devices.similar(serial)}<//> `}<${Button} onClick=${clear}>${t.devices.clear}<//><//>`
    : html`<${Empty} title=${t.devices.none}><p>${t.devices.noneCure}</p>${canAct ? html`<${LinkButton} kind="primary" icon="add" href=${linkTo('enrol')}>${t.devices.enrolOne}<//>` : null}<//>`;

/**
 * @param {{ devices: import('../types.d.ts').Device[], selected?: Set<string>, select?: (selected: Set<string>) => void }} props
 */
export function DeviceTable({ devices, selected, select }) {
  const all = useRef(/** @type {any} */ (null));
  const chosen = selected === undefined ? 0 : devices.filter((device) => selected.has(device.serial)).length;
  useEffect(() => {
    if (all.current !== null) all.current.indeterminate = chosen > 0 && chosen < devices.length;
  }, [chosen, devices.length]);
  const toggle = (/** @type {string[]} */ serials, /** @type {boolean} */ isOn) => {
    const next = new Set(selected);
    for (const serial of serials) isOn ? next.add(serial) : next.delete(serial);
    select?.(next);
  };
  return html`<table class="cards">
    <caption class="hidden">${t.nav.devices}</caption>
    <thead><tr>
      ${
        selected === undefined
          ? null
          : html`<td class="tick"><input type="checkbox" ref=${all} aria-label=${t.devices.selectAll} checked=${chosen === devices.length} onChange=${(
              /** @type {any} */ event,
            ) =>
              toggle(
                devices.map((device) => device.serial),
                event.currentTarget.checked,
              )} /></td>`
      }
      <th scope="col">${t.devices.serial}</th><th scope="col">${t.devices.state}</th><th scope="col">${t.devices.site}</th>
      <th scope="col">${t.devices.requestedAt}</th><th scope="col">${t.devices.registeredAt}</th>
    </tr></thead>
    <tbody>${devices.map(
      (device) => html`<tr key=${device.serial} class=${selected?.has(device.serial) ? 'selected' : ''}>
        ${
          selected === undefined
            ? null
            : html`<td class="tick"><input type="checkbox" aria-label=${t.devices.select(device.serial)} checked=${selected.has(device.serial)} onChange=${(/** @type {any} */ event) => toggle([device.serial], event.currentTarget.checked)} /></td>`
        }
        <th scope="row"><a class="mono" href=${linkTo('device', device.serial)}>${device.serial}</a></th>
        <td data-label=${t.devices.state}><${StateBadge} state=${device.state} />${device.cameAlive?.connected === false ? html` <span class="badge warning">${t.devices.silent}</span>` : null}</td>
        <td data-label=${t.devices.site}>${device.site ?? html`<span class="muted">–</span>`}</td>
        <td data-label=${t.devices.requestedAt}><${Time} at=${device.requestedAt} /></td>
        <td data-label=${t.devices.registeredAt}><${Time} at=${device.registeredAt} /></td>
      </tr>`,
    )}</tbody>
  </table>`;
}

/**
 * @param {{ cursors: string[], setCursors: (cursors: string[]) => void, next: string | undefined, isTurning: boolean }} props
 * `cursors`: of the pages before this one. `next`: of the page after it. `isTurning`: what is shown is still another page, which does not know what comes
 * after this one. The button keeps the focus meanwhile.
 */
export function Pager({ cursors, setCursors, next, isTurning }) {
  const isFirst = cursors.length === 0;
  if (isFirst && next === undefined) return null;
  const back = () => setCursors(cursors.slice(0, -1));
  const forth = () => next !== undefined && !isTurning && setCursors([...cursors, next]);
  return html`<nav class="pager" aria-label=${t.pager.label}>
    <${Button} icon="back" disabled=${isFirst} onClick=${back}>${t.pager.back}<//>
    <span aria-live="polite">${t.pager.page(cursors.length + 1)}</span>
    <${Button} icon="next" disabled=${next === undefined} aria-disabled=${isTurning ? 'true' : undefined} onClick=${forth}>${t.pager.next}<//>
  </nav>`;
}

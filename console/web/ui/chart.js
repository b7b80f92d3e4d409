import { ApiError } from '../api.js';
import { clockMinute, number } from '../format.js';
import { html, useEffect, useRef } from '../lib.js';
import { useLoad } from '../load.js';
import { t } from '../texts.js';
import { themeChanges } from './theme.js';

/** @typedef {import('../types.d.ts').Minute} Minute */

let failures = 0;

/** Some browsers keep in mind that a module could not be loaded: another address is another try. */
function loadPlot() {
  return import(failures === 0 ? '../vendor/uplot.js' : `../vendor/uplot.js?${failures}`).then(
    (loaded) => ({ Plot: loaded.default }),
    () => {
      failures++;
      throw new ApiError(0, 'Unreachable', t.errors.unreachable, t.errors.unreachableCure);
    },
  );
}

/**
 * The last hour, minute by minute. uPlot is loaded after the first paint; a table has the same for screen readers.
 * @param {{ minutes: Minute[] }} props
 */
export function MinutesChart({ minutes }) {
  const place = useRef(/** @type {HTMLElement | null} */ (null));
  const chart = useRef(/** @type {any} */ (undefined));
  const latest = useRef(minutes);
  latest.current = minutes;
  const { data: loaded } = useLoad(loadPlot, []);
  useEffect(() => {
    const element = place.current;
    if (loaded === undefined || element === null) return undefined;
    const { Plot } = loaded;
    const draw = () => {
      chart.current?.destroy();
      chart.current = new Plot(options(Plot, element), series(latest.current), element);
    };
    draw();
    const observer = new ResizeObserver(() =>
      chart.current?.setSize({ width: element.clientWidth, height: height(element) }),
    );
    observer.observe(element);
    const unsubscribe = themeChanges.subscribe(draw);
    return () => {
      observer.disconnect();
      unsubscribe();
      chart.current?.destroy();
      chart.current = undefined;
    };
  }, [loaded]);
  useEffect(() => chart.current?.setData(series(minutes)), [minutes]);
  const vended = sum(minutes, 'vended');
  const refused = sum(minutes, 'refused');
  return html`<figure class="chart">
    <div class="plot" ref=${place} role="img" aria-label=${t.now.chartSays(number(vended), number(refused))}></div>
    <figcaption>
      <span class="key vended">${t.now.vended}</span><span class="key refused">${t.now.refused}</span>
      <details><summary>${t.now.asTable}</summary><${MinutesTable} minutes=${minutes} /></details>
    </figcaption>
  </figure>`;
}

/** @param {{ minutes: Minute[] }} props */
const MinutesTable = ({
  minutes,
}) => html`<div class="scroll" tabindex="0" role="region" aria-label=${t.now.asTable}><table>
  <thead><tr><th>${t.now.minute}</th><th>${t.now.vended}</th><th>${t.now.refused}</th><th>${t.now.repeated}</th></tr></thead>
  <tbody>${[...minutes]
    .reverse()
    .map(
      (minute) =>
        html`<tr key=${minute.at}><td>${clockMinute(minute.at)}</td><td>${number(minute.vended)}</td><td>${number(minute.refused)}</td><td>${number(minute.repeated ?? 0)}</td></tr>`,
    )}</tbody>
</table></div>`;

/**
 * @param {Minute[]} minutes
 * @param {'vended' | 'refused'} what
 */
const sum = (minutes, what) => minutes.reduce((total, minute) => total + (minute[what] ?? 0), 0);

/** @param {Minute[]} minutes @returns {[number[], number[], number[]]} */
const series = (minutes) => [
  minutes.map((minute) => new Date(minute.at).getTime() / 1000),
  minutes.map((minute) => minute.vended),
  minutes.map((minute) => minute.refused),
];

/** @param {HTMLElement} element */
const height = (element) => element.clientHeight || 180;

/**
 * @param {typeof import('../vendor/uplot.js').default} Plot
 * @param {HTMLElement} element
 * @returns {any}
 */
function options(Plot, element) {
  const style = getComputedStyle(element);
  const color = (/** @type {string} */ name) => style.getPropertyValue(name).trim();
  const bars = Plot.paths.bars?.({ size: [0.72, 40], align: 1 });
  const axis = {
    stroke: color('--muted'),
    grid: { stroke: color('--line'), width: 1 },
    ticks: { show: false },
    font: `12px ${style.fontFamily}`,
  };
  return {
    width: element.clientWidth,
    height: height(element),
    legend: { show: false },
    cursor: { show: false },
    padding: [8, 8, 0, 0],
    scales: {
      // the bar of a minute stands to the right of its begin
      x: {
        range: (/** @type {any} */ _plot, /** @type {number} */ min, /** @type {number} */ max) => [min, max + 60],
      },
      y: {
        range: (/** @type {any} */ _plot, /** @type {number} */ _min, /** @type {number} */ max) => [
          0,
          Math.max(4, max * 1.1),
        ],
      },
    },
    axes: [
      {
        ...axis,
        grid: { show: false },
        space: 90,
        values: (/** @type {any} */ _plot, /** @type {number[]} */ ticks) =>
          ticks.map((tick) => clockMinute(tick * 1000)),
      },
      {
        ...axis,
        size: 44,
        space: 36,
        values: (/** @type {any} */ _plot, /** @type {number[]} */ ticks) =>
          ticks.map((tick) => (Number.isInteger(tick) ? number(tick) : '')),
      },
    ],
    series: [
      {},
      { paths: bars, fill: color('--accent'), stroke: color('--accent'), width: 0, points: { show: false } },
      { paths: bars, fill: color('--failed'), stroke: color('--failed'), width: 0, points: { show: false } },
    ],
  };
}

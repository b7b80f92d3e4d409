import { clockTime, day, duration, fullTime, toDate } from '../format.js';
import { html } from '../lib.js';
import { t } from '../texts.js';
import { Icon } from './icons.js';

/** @typedef {import('../types.d.ts').Step} Step */

/** @type {Record<string, import('./icons.js').IconName>} */
const icons = { ok: 'ok', waiting: 'waiting', refused: 'refused', failed: 'failed' };
const shownElsewhere = new Set([
  'at',
  'part',
  'step',
  'outcome',
  'detail',
  'serial',
  'title',
  'cure',
  'count',
  'since',
  'from',
  'unproven',
  'by',
]);
/** a pause that is longer is drawn as a gap between two visits */
const visitPause = 120;

/** Everything that is known of a device, one step below the other. @param {{ steps: Step[] }} props */
export function Timeline({ steps }) {
  return html`<ol class="timeline">
    ${steps.map((step, place) => html`<${StepRow} key=${`${step.at}-${step.step}-${place}`} step=${step} before=${steps[place - 1]} />`)}
  </ol>`;
}

/** @param {{ step: Step, before: Step | undefined }} props */
function StepRow({ step, before }) {
  const outcome = step.outcome ?? 'ok';
  const gap = secondsBetween(before, step);
  const isNewDay = before === undefined || day(before.at) !== day(step.at);
  const others = Object.entries(step).filter(
    ([name, value]) => !shownElsewhere.has(name) && value !== undefined && value !== null,
  );
  return html`
    ${isNewDay ? html`<li class="timeline-day">${day(step.at)}</li>` : null}
    ${!isNewDay && gap !== undefined && gap > visitPause ? html`<li class="timeline-gap">${t.device.later(duration(gap))}</li>` : null}
    <li class=${`step ${outcome}`}>
      <span class="step-mark"><${Icon} name=${icons[outcome] ?? 'ok'} /></span>
      <time class="step-time" datetime=${toDate(step.at)?.toISOString()} title=${fullTime(step.at)}>
        ${clockTime(step.at)}
        ${gap !== undefined && gap <= visitPause && gap >= 0.001 ? html`<span class="muted"> +${duration(gap)}</span>` : null}
      </time>
      <div class="step-text">
        <p><span class="strong">${stepName(step.step)}</span> <span class="badge part">${t.parts[step.part ?? ''] ?? step.part}</span> <span class=${`outcome ${outcome}`}>${t.outcomes[outcome] ?? outcome}</span></p>
        ${step.detail === undefined ? null : html`<p class="muted">${step.detail}</p>`}
        ${about(step) === '' ? null : html`<p class="muted small">${about(step)}</p>`}
        ${
          others.length === 0
            ? null
            : html`<details><summary>${t.device.details}</summary><dl class="facts small">${others.map(
                ([name, value]) =>
                  html`<div key=${name}><dt>${name}</dt><dd class="mono">${typeof value === 'object' ? JSON.stringify(value) : `${value}`}</dd></div>`,
              )}</dl></details>`
        }
      </div>
    </li>`;
}

/** @param {string} step */
export const stepName = (step) => t.steps[step] ?? step;

/**
 * @param {Step | undefined} before
 * @param {Step} step
 */
function secondsBetween(before, step) {
  const from = toDate(before?.at)?.getTime();
  const to = toDate(step.at)?.getTime();
  return from === undefined || to === undefined ? undefined : (to - from) / 1000;
}

/** @param {Step} step */
const about = (step) =>
  [
    step.by === undefined ? '' : t.device.by(`${step.by}`),
    step.from === undefined ? '' : t.device.from(`${step.from}`),
    typeof step.count === 'number' ? t.device.times(step.count, clockTime(/** @type {any} */ (step.since))) : '',
    step.unproven === true ? t.device.unproven : '',
  ]
    .filter(Boolean)
    .join(' · ');

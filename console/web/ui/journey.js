import { html } from '../lib.js';
import { t } from '../texts.js';
import { Icon } from './icons.js';

/** @typedef {import('../types.d.ts').Step} Step */
/** @typedef {'connected' | 'proved' | 'line' | 'certificate' | 'delivered' | 'acknowledged' | 'alive'} Stage */

/** @type {Stage[]} */
const stages = ['connected', 'proved', 'line', 'certificate', 'delivered', 'acknowledged', 'alive'];

/**
 * How far the device has come, from its first connection to AWS IoT Core, as one row. It follows the last visit: what came after the
 * last enrolment or new token.
 * @param {{ steps: Step[], device: import('../types.d.ts').Device | undefined }} props
 */
export function Journey({ steps, device }) {
  const start = steps.findLastIndex((step) => step.step === 'enrolled' || step.step === 'reissued');
  const last = /** @type {Map<Stage, string>} */ (new Map());
  for (const step of steps.slice(start + 1)) {
    const stage = stageOf(step);
    if (stage === undefined) continue;
    // a request is stored before its token is looked at: with a refusal, it came no further than that
    if (stage === 'proved') for (const later of stages.slice(stages.indexOf('proved') + 1)) last.delete(later);
    else if (stages.indexOf(stage) > stages.indexOf('line')) last.set('proved', 'ok');
    last.set(stage, step.outcome ?? 'ok');
  }
  if (device?.seenAt !== undefined) last.set('alive', 'ok');
  const furthest = Math.max(-1, ...stages.map((stage, place) => (last.has(stage) ? place : -1)));
  // a step that is known proves those before it, which an older record may not have
  return html`<ol class="journey" aria-label=${t.journey.label}>${stages.map((stage, place) => {
    const known = last.get(stage) ?? 'none';
    const outcome = place < furthest && (known === 'none' || known === 'waiting') ? 'ok' : known;
    return html`<li key=${stage} class=${outcome}><span class="journey-mark">${outcome === 'none' ? null : html`<${Icon} name=${/** @type {any} */ (outcome)} />`}</span><span>${t.journey[stage]}</span><span class="hidden">: ${t.outcomes[outcome] ?? outcome}</span></li>`;
  })}</ol>`;
}

/** @type {Record<string, Stage>} */
const stagesOf = {
  tls: 'connected',
  connected: 'connected',
  closed: 'connected',
  stored: 'line',
  line: 'line',
  endpoint: 'certificate',
  ensureThing: 'certificate',
  issue: 'certificate',
  findInactive: 'certificate',
  attach: 'certificate',
  activate: 'certificate',
  withdraw: 'certificate',
  configure: 'certificate',
  postponed: 'certificate',
  vended: 'certificate',
  repeated: 'certificate',
  answered: 'delivered',
  'too-large': 'delivered',
  delivered: 'acknowledged',
  acknowledged: 'acknowledged',
  'came-alive': 'alive',
};

/** A refusal is the token's, wherever it was decided: the broker reads it, and the worker compares it with the row. @param {Step} step @returns {Stage | undefined} */
const stageOf = (step) =>
  step.step === 'refused' || (step.step === 'answered' && step.outcome === 'refused') ? 'proved' : stagesOf[step.step];

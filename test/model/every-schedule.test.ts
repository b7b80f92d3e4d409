import { describe, expect, it } from 'vitest';
import { sized } from '../support/size.ts';
import { explore } from './explore.ts';
import { sabotages, scenarios } from './scenarios.ts';
import { openWorld } from './world.ts';

/** In each scenario; `npm run model` goes further. */
const maxStates = sized(15_000, 2500);

describe('whatever crashes, in whatever order', () => {
  let states = 0;

  it.each(scenarios.map((scenario) => ({ ...scenario })))('every promise is kept: $name', async (scenario) => {
    const result = await explore({ world: openWorld(scenario), faults: 1, maxStates });
    states += result.states;
    expect(result.traces).toEqual([]);
    expect(result.complete || result.endings > 40).toBe(true);
  });

  it('and that is explored in many states', () => {
    console.log(`${states} states explored, of ${scenarios.length} scenarios`);
    expect(states).toBeGreaterThan(10 * maxStates);
  });
});

describe('the exploration', () => {
  it.each(sabotages.map((each) => ({ ...each })))('would notice when $name', async ({ scenario, sabotage }) => {
    const result = await explore({ world: openWorld(scenario, sabotage), faults: 1, untilViolation: true });
    expect(result.violations).toBeGreaterThan(0);
  });
});

import { describe, expect, it } from 'vitest';
import { sized } from '../support/size.ts';
import { explore, exploreUntilViolation } from './explore.ts';
import { sabotages, scenarios } from './scenarios.ts';
import { openWorld } from './world.ts';

/** In each scenario; `npm run model` goes further. */
const maxStates = sized(15_000);

/** The same with the conditions and updates that are sent to DynamoDB, which takes four times as long. */
const maxStatesOnDynamo = sized(2000, 60);

describe('whatever crashes, in whatever order', () => {
  let states = 0;

  it.each(scenarios.map((scenario) => ({ ...scenario })))('every promise is kept: $name', async (scenario) => {
    const result = await explore({ world: openWorld(scenario), faults: 1, maxStates });
    const onDynamo = { world: openWorld(scenario, {}, 'dynamodb'), faults: 1, seed: 7, maxStates: maxStatesOnDynamo };
    const sent = await explore(onDynamo);
    states += result.states + sent.states;
    expect([...result.traces, ...sent.traces]).toEqual([]);
    expect(result.complete || result.endings > 40).toBe(true);
  });

  it('and that is explored in many states', () => {
    console.log(`${states} states explored, of ${scenarios.length} scenarios`);
    expect(states).toBeGreaterThan(10 * maxStates);
  });
});

describe('the exploration', () => {
  it.each(sabotages.map((each) => ({ ...each })))('would notice when $name', async ({ scenario, sabotage }) => {
    const result = await exploreUntilViolation({ world: openWorld(scenario, sabotage), faults: 1 });
    expect(result.violations).toBeGreaterThan(0);
  });
});

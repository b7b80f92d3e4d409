import { describe, expect, it } from 'vitest';
import { sized } from '../support/size.ts';
import { explore, exploreUntilViolation } from './explore.ts';
import { waitingSabotages, waitingScenarios } from './waiting-scenarios.ts';
import { openWaitingWorld } from './waiting-world.ts';

const maxStates = sized(15_000, 750);
const maxStatesOnDynamo = sized(2000, 60);

describe('certificates that wait for their device, whatever crashes, in whatever order', () => {
  it.each(waitingScenarios.map((scenario) => ({ ...scenario })))(
    'are one device’s, or gone with their ownership token: $name',
    async (scenario) => {
      const result = await explore({ world: openWaitingWorld(scenario), faults: 1, maxStates });
      const sent = await explore({
        ...{ world: openWaitingWorld(scenario, {}, 'dynamodb'), faults: 1, seed: 7, maxStates: maxStatesOnDynamo },
      });
      expect([...result.traces, ...sent.traces]).toEqual([]);
      expect(result.complete || result.endings > 40).toBe(true);
    },
  );

  it.each(waitingSabotages.map((each) => ({ ...each })))(
    'and the exploration would notice when $name',
    async ({ scenario, sabotage }) => {
      const result = await exploreUntilViolation({ world: openWaitingWorld(scenario, sabotage), faults: 1 });
      expect(result.violations).toBeGreaterThan(0);
    },
  );
});

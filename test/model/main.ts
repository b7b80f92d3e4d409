import { parseArgs } from 'node:util';
import { type Figure, printFigures } from '../chaos/figures.ts';
import { explore, exploreUntilViolation } from './explore.ts';
import { sabotages, scenarios } from './scenarios.ts';
import { waitingSabotages, waitingScenarios } from './waiting-scenarios.ts';
import { openWaitingWorld } from './waiting-world.ts';
import { openWorld } from './world.ts';

const { values } = parseArgs({
  options: {
    states: { type: 'string', default: '150000' },
    'dynamodb-states': { type: 'string', default: '15000' },
    faults: { type: 'string', default: '1' },
    seed: { type: 'string', default: '1' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

if (values.help) {
  console.log(`npm run model -- [--states N] [--faults N] [--seed N] [--json]

Explores the schedules of the issuance cycle, the operator's commands and the sweeper with their real code and fakes that
behave: every order of calls, a crash before or after any of them, lost answers, leases that end at any time.
  --states N   at most N states of each scenario (150000); 0 for all of them, which takes an hour
  --dynamodb-states N   at most N states of each scenario on the expressions that are sent to DynamoDB (15000); these take four
               times as long
  --faults N   mishaps in one execution, at most (1)
  --seed N     in which order choices are tried`);
  process.exit(0);
}

const [faults, seed] = [Number(values.faults), Number(values.seed)];
const all = Number.POSITIVE_INFINITY;
const runs = [
  { store: 'memory', maxStates: Number(values.states) || all },
  { store: 'dynamodb', maxStates: Number(values['dynamodb-states']) || all },
] as const;
const say = (line: string) => console.error(line);

let [states, executions, violations, complete] = [0, 0, 0, 0];
const worlds = [
  ...runs.flatMap(({ store, maxStates }) =>
    scenarios.map((each) => ({ name: each.name, world: openWorld(each, {}, store), store, maxStates })),
  ),
  ...runs.flatMap(({ store, maxStates }) =>
    waitingScenarios.map((each) => ({ name: each.name, world: openWaitingWorld(each, {}, store), store, maxStates })),
  ),
];
for (const { name, world, store, maxStates } of worlds) {
  const result = await explore({ world, faults, seed, maxStates });
  states += result.states;
  executions += result.executions;
  violations += result.violations;
  if (result.complete && store === 'memory') complete++;
  say(
    `${String(result.states).padStart(9)} states${result.complete ? ', all of them' : ''.padEnd(13)}  ${store.padEnd(8)}  ${name}`,
  );
  for (const { why, steps } of result.traces) say(`  VIOLATION: ${why}\n    ${steps.join('\n    ')}`);
}
let caught = 0;
const broken = [
  ...sabotages.map(({ name, scenario, sabotage }) => ({ name, world: openWorld(scenario, sabotage) })),
  ...waitingSabotages.map(({ name, scenario, sabotage }) => ({ name, world: openWaitingWorld(scenario, sabotage) })),
];
for (const { name, world } of broken) {
  const result = await exploreUntilViolation({ world, faults: 1 });
  if (result.violations > 0) caught++;
  const [{ why } = { why: 'nothing' }] = result.traces;
  say(`${result.violations > 0 ? 'caught' : 'MISSED'} after ${result.states} states: ${name} (${why})`);
}

const figures: Figure[] = [
  { name: 'states explored', value: states, unit: 'states', goal: '>= 500000', holds: states >= 500_000 },
  { name: 'states in violation', value: violations, unit: 'executions', goal: '0', holds: violations === 0 },
  { name: 'executions', value: executions, unit: 'executions', goal: 'many', holds: executions > 0 },
  {
    name: 'scenarios explored to the end',
    value: complete,
    unit: `of ${scenarios.length + waitingScenarios.length}`,
    goal: '>= 1',
    holds: complete > 0,
  },
  {
    name: 'broken variants caught',
    value: caught,
    unit: `of ${broken.length}`,
    goal: 'all',
    holds: caught === broken.length,
  },
];
printFigures(figures, values.json);

import { parseArgs } from 'node:util';
import { hideNodeWarning } from '../../aws/node-warning.ts';
import { clockSteps } from './clock-steps.ts';
import { type Figure, printFigures } from './figures.ts';
import { fleetProvisioning } from './fleet-provisioning.ts';
import { flushes } from './flushes.ts';
import { frozenWorkers } from './frozen-workers.ts';
import { everyPoint, killPoints } from './kill-points.ts';
import { lostAnswers } from './lost-answers.ts';
import { olderRedis } from './older-redis.ts';
import { outage } from './outage.ts';
import { seeded } from './random.ts';
import { redisKills } from './redis-kills.ts';
import { restoredTable } from './restored-table.ts';
import { resume } from './resume.ts';
import { storm } from './storm.ts';
import { twoGateways } from './two-gateways.ts';

hideNodeWarning();

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    devices: { type: 'string', default: '200' },
    kills: { type: 'string', default: '40' },
    parts: { type: 'string' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
const seed = Number(values.seed);
const say = (line: string) => console.error(line);

const random = () => seeded(seed);

/** What goes by the seed: together, these are the usual run. */
const seededParts: Readonly<Record<string, () => Promise<Figure[]>>> = {
  storm: () => storm({ devices: Number(values.devices), kills: Number(values.kills), random: random(), say }),
  'frozen-workers': () => frozenWorkers({ random: random() }, say),
  'two-gateways': () => twoGateways({ devices: 36, kills: 8, random: random() }, say),
  flushes: () => flushes({ devices: 40, times: 5, random: random() }, say),
  'restored-table': () => restoredTable({ ofEach: 4, random: random() }, say),
  'older-redis': () => olderRedis({ devices: 40, random: random() }, say),
  'fleet-provisioning': () => fleetProvisioning({ devices: 56, kills: 20, random: random() }, say),
  'clock-steps': () => clockSteps({ devices: 40, steps: 8, random: random() }, say),
};
const parts: Readonly<Record<string, () => Promise<Figure[]>>> = {
  ...seededParts,
  'kill-points': () => killPoints(everyPoint(), say),
  resume: () => resume({ trials: 5, killsOfOneJob: 20 }, say),
  'redis-kills': () => redisKills({ kills: 100, requests: 20_000 }, say),
  'lost-answers': () => lostAnswers({ devices: 400 }, say),
  outage: () => outage({ devices: 200 }, say),
};

if (values.help) {
  console.log(`npm run chaos -- [--seed N] [--devices N] [--kills N] [--parts NAME,...|all] [--json]

Real processes on this machine, killed, frozen and started again; prints figures, and ends with status 1 when one of them
does not hold. By default it runs the parts that go by the seed, in about seven minutes: the same seed is the same plan.
  storm           devices that keep asking while all parts are killed at random and AWS fails (80 s)
  frozen-workers  a worker frozen at each step while an operator blocks, reissues, or removes and enrols again (45 s)
  two-gateways    two gateways of one table: asked at once, in turns, with a frozen worker, with kills (45 s)
  flushes         FLUSHALL while devices ask (30 s)
  restored-table  the table restored from an older copy, and put right by what the sweep says (30 s)
  older-redis     Redis restored from an older append-only file (30 s)
  fleet-provisioning  devices of AWS IoT Fleet Provisioning, with tokens and a claim certificate, in a storm (90 s)
  clock-steps     the gateway's clock steps by hours, forward and back, between kills (40 s)
The other parts, one by one or with --parts all:
  kill-points     a crash of worker, broker or Redis at each boundary of each step (2 minutes)
  resume          how soon a killed worker's work goes on, and 20 kills of one request (4 minutes)
  redis-kills     20,000 acknowledged requests over 100 kills of Redis (2 minutes)
  lost-answers    create calls for each certificate when one answer in twenty is lost (1 minute)
  outage          an hour without AWS, compressed to a minute (2 minutes)`);
  process.exit(0);
}

const names = values.parts === 'all' ? Object.keys(parts) : (values.parts?.split(',') ?? Object.keys(seededParts));
const unknown = names.filter((name) => parts[name] === undefined);
if (unknown.length > 0) {
  console.error(`there is no part ${unknown.join(', ')}; there are ${Object.keys(parts).join(', ')}, and all`);
  process.exit(2);
}
const figures: Figure[] = [];
for (const name of names) {
  say(`\n${name}`);
  figures.push(...((await parts[name]?.()) ?? []));
}
printFigures(figures, values.json);

import { parseArgs } from 'node:util';
import { hideNodeWarning } from '../../aws/node-warning.ts';
import { type Figure, printFigures } from '../chaos/figures.ts';
import { seeded } from '../chaos/random.ts';
import { alone } from './alone.ts';
import { burst } from './burst.ts';
import { mob } from './mob.ts';
import { roster } from './roster.ts';
import { soak } from './soak.ts';
import { timing } from './timing.ts';
import { tokenAttempts } from './token-attempts.ts';

hideNodeWarning();

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    parts: { type: 'string', default: 'all' },
    samples: { type: 'string', default: '20000' },
    devices: { type: 'string', default: '100000' },
    tokenAttempts: { type: 'string', default: '100000' },
    burst: { type: 'string', default: '2000' },
    slots: { type: 'string', default: '3000' },
    attackers: { type: 'string', default: '500' },
    seconds: { type: 'string', default: '300' },
    rounds: { type: 'string', default: '3' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  console.log(`npm run security -- [--parts NAME,...|all] [--json] [--seed N] …

Figures of what docs/security.md promises; ends with status 1 when one of them does not hold.
  timing    can an unknown serial be told from a wrong token? --samples N (20000)
  tokenAttempts  how many token attempts at one serial are evaluated; --tokenAttempts N (100000)
  roster    what pre-shared keys cost a broker; --devices N (100000)
  soak      connects, requests and refusals for --seconds N (300), then all is as it was
  burst     --burst N (2000) honest devices behind one address that come within one second
  alone     each sustained attacker by itself for a tenth of --seconds N (300), at a broker with --slots N (3000), while honest
            devices ask
  mob       --attackers N (500) of all kinds, and all sustained attackers, for --seconds N (300) in --rounds N (3), each after
            as long a calm, while honest devices ask. 20 seconds a round or more: of fewer requests p99 is the slowest one or two`);
  process.exit(0);
}

const random = seeded(Number(values.seed));
const [seconds, slots, rounds] = [Number(values.seconds), Number(values.slots), Number(values.rounds)];
const say = (line: string) => console.error(line);
const parts: Readonly<Record<string, () => Promise<Figure[]>>> = {
  roster: () => roster({ devices: Number(values.devices) }, say),
  timing: () => timing({ samples: Number(values.samples), random }, say),
  tokenAttempts: () => tokenAttempts({ count: Number(values.tokenAttempts) }),
  soak: () => soak({ seconds, random }, say),
  burst: () => burst({ devices: Number(values.burst) }, say),
  alone: () => alone({ seconds: Math.ceil(seconds / 10), slots, random }, say),
  mob: () => mob({ attackers: Number(values.attackers), seconds, rounds, slots, random }, say),
};
const names = values.parts === 'all' ? Object.keys(parts) : values.parts.split(',');
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
// a handle that a part left open must not keep this process alive
process.exit();

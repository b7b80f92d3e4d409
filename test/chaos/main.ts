import { parseArgs } from 'node:util';
import { type Figure, printFigures } from './figures.ts';
import { seeded } from './random.ts';
import { storm } from './storm.ts';

process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    devices: { type: 'string', default: '300' },
    kills: { type: 'string', default: '60' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

const seed = Number(values.seed);
const say = (line: string) => console.error(line);
const figures: Figure[] = [];
figures.push(
  ...(await storm({ devices: Number(values.devices), kills: Number(values.kills), random: seeded(seed), say })),
);
printFigures(figures, values.json);

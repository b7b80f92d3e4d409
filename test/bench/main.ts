import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { type Figure, printFigures } from '../chaos/figures.ts';
import type { Flow } from './gateway.ts';
import { renderPage } from './page.ts';
import type { CpuOptions, Drawing, Row } from './row.ts';
import { rows } from './rows.ts';
import { openSites } from './site.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'boolean', default: false },
    html: { type: 'string' },
    against: { type: 'string' },
    devices: { type: 'string', default: '600' },
    starts: { type: 'string', default: '2' },
    rounds: { type: 'string', default: '2' },
    flow: { type: 'string', default: 'csr,ec' },
    profile: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});

if (values.help) {
  console.log(`npm run bench -- [--json] [--html FILE] [ROW...]

Starts gateways as real processes on 127.0.0.1, measures them, and says which goals hold; ends with status 1 when one does
not. Without the name of a row, all of them run, one after the other:
${rows.map(({ name, title, minutes }) => `  ${name.padEnd(16)}${title} (${minutes} min)`).join('\n')}

For the row cpu:
  --against PATH  a built checkout in place of the commit that it is compared with
  --devices N     devices in each round (600)
  --starts N      how often the gateways are started anew (2): each start has a speed of its own
  --rounds N      rounds of each start that are counted, after one that is not (2)
  --flow NAMES    who makes the key pair: csr (the device), ec (the gateway), rsa (AWS) (csr,ec)`);
  process.exit(0);
}

const unknown = positionals.filter((name) => rows.every((row) => row.name !== name));
if (unknown.length > 0) {
  console.error(`there is no row ${unknown.join(', ')}; there are ${rows.map(({ name }) => name).join(', ')}`);
  process.exit(2);
}

const wrongUse = (message: string): never => {
  console.error(message);
  process.exit(2);
};
const whole = (name: 'devices' | 'starts' | 'rounds'): number => {
  const value = Number(values[name]);
  return Number.isInteger(value) && value > 0 ? value : wrongUse(`--${name} must be a whole number from 1`);
};
const isFlow = (name: string): name is Flow => ['csr', 'ec', 'rsa'].includes(name);
const flows = values.flow.split(',');
const cpu: CpuOptions = {
  against: values.against === undefined ? undefined : resolve(values.against),
  devices: whole('devices'),
  starts: whole('starts'),
  rounds: whole('rounds'),
  profiles: values.profile === undefined ? undefined : resolve(values.profile),
  flows: flows.every(isFlow) ? flows : wrongUse('--flow takes csr, ec and rsa, with commas between them'),
};

const checkout = join(import.meta.dirname, '../../..');
const say = (line: string) => console.error(line);
const chosen = positionals.length === 0 ? rows : rows.filter(({ name }) => positionals.includes(name));
const figures: Figure[] = [];
const drawings: Drawing[] = [];
for (const row of chosen) {
  say(`${row.name}: ${row.title}`);
  figures.push(...(await measured(row)));
}
const machine = `${cpus().length} cores, ${cpus()[0]?.model.trim()}, Node.js ${process.version}`;
say(machine);
if (values.html !== undefined) writeFileSync(values.html, renderPage(figures, drawings, machine));
printFigures(figures, values.json);

/** A row that cannot be measured is a goal that is not reached; the others are still measured. */
async function measured(row: Row): Promise<readonly Figure[]> {
  const sites = openSites(checkout);
  try {
    const result = await row.run({ sites, checkout, cpu, say });
    drawings.push(...(result.drawings ?? []));
    return result.figures;
  } catch (error) {
    say(`${row.name}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    return [{ name: row.name, value: 'not measured', goal: 'measured', holds: false }];
  } finally {
    await sites.close();
  }
}

import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { cpus } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { measure, type Pair, type Row, rowsOf } from './compare.ts';
import { cvmOf, type Flow, startGateway } from './gateway.ts';

const { values } = parseArgs({
  options: {
    against: { type: 'string' },
    devices: { type: 'string', default: '1000' },
    starts: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '2' },
    flow: { type: 'string', default: 'csr,ec' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
const known: readonly string[] = ['csr', 'ec', 'rsa'] satisfies Flow[];

if (values.help) {
  console.log(`npm run bench -- [--against PATH] [--devices N] [--starts N] [--rounds N]
                 [--flow NAME,...] [--json]

CPU time of broker and worker for each device, of this checkout and of the built one at PATH, at work at the same time.
  --devices N   devices in each round (1000)
  --starts N    how often the gateways are started anew (3): each start has a speed of its own
  --rounds N    rounds of each start that are counted, after one that is not (2)
  --flow NAMES  who makes the key pair: csr (the device), ec (the gateway), rsa (AWS); several with commas (csr,ec)
The phases are enrol (import of the devices, and the roster that follows it) and vend (from the first CONNECT until
broker and worker are idle again). With the defaults and --against it takes about fifteen minutes.`);
  process.exit(0);
}

const wrongUse = (message: string): never => {
  console.error(message);
  process.exit(2);
};
const whole = (name: 'devices' | 'starts' | 'rounds'): number => {
  const value = Number(values[name]);
  return Number.isInteger(value) && value > 0 ? value : wrongUse(`--${name} must be a whole number from 1`);
};
const [devices, starts, rounds] = [whole('devices'), whole('starts'), whole('rounds')];
const flows = values.flow.split(',') as Flow[];
const unknown = flows.filter((flow) => !known.includes(flow));
if (unknown.length > 0) wrongUse(`there is no flow ${unknown.join(', ')}; there are ${known.join(', ')}`);

const hereFolder = join(import.meta.dirname, '../../..');
const thereFolder = values.against === undefined ? undefined : resolve(values.against);
for (const folder of [hereFolder, thereFolder])
  if (folder !== undefined && !existsSync(cvmOf(folder))) wrongUse(`run "npm run build" in ${folder} first`);
const simulator = cvmOf(hereFolder);
const say = (line: string) => console.error(line);

const rows: Row[] = [];
for (const flow of flows) {
  const pairs: Pair[] = [];
  for (let start = 1; start <= starts; start++) {
    say(`start ${start} of ${starts}`);
    pairs.push(...(await measureOnce(flow)));
  }
  rows.push(...rowsOf(flow, devices, pairs));
}

/** Fresh gateways: what one flow leaves behind must not count for the next. */
async function measureOnce(flow: Flow): Promise<Pair[]> {
  const here = await startGateway(hereFolder, simulator);
  const there = thereFolder === undefined ? undefined : await startGateway(thereFolder, simulator);
  try {
    return await measure(there === undefined ? { here } : { here, there }, { devices, rounds, flow }, say);
  } finally {
    await there?.close();
    await here.close();
  }
}

const machine = { cores: cpus().length, cpu: cpus()[0]?.model.trim() ?? 'unknown', node: process.version };
const versions = {
  here: versionOf(hereFolder),
  ...(thereFolder === undefined ? {} : { there: versionOf(thereFolder) }),
};
if (values.json) console.log(JSON.stringify({ machine, versions, devices, starts, rounds, rows }));
else printTable();

function printTable(): void {
  const columns = (cells: readonly string[]) => cells.map((cell, index) => cell.padEnd(index < 3 ? 8 : 12)).join('');
  const time = (ms: number | undefined) => (ms === undefined ? '' : `${ms.toFixed(2)} ms`);
  console.log(`CPU time for each device, median of ${starts} × ${rounds} rounds of ${devices} devices`);
  console.log(`${machine.cores} cores, ${machine.cpu}, Node.js ${machine.node}`);
  console.log(`here ${versions.here}${versions.there === undefined ? '' : `, there ${versions.there}`}\n`);
  console.log(columns(['flow', 'phase', 'part', 'here', 'there', 'here/there', '(smallest to largest)']));
  for (const { flow, phase, part, here, there, ratio } of rows)
    console.log(
      columns([
        ...[flow, phase, part, time(here), time(there)],
        ...(ratio === undefined
          ? []
          : [ratio.median.toFixed(3), `(${ratio.min.toFixed(3)} to ${ratio.max.toFixed(3)})`]),
      ]).trimEnd(),
    );
}

/** The commit of a checkout, or its path where it is none. */
function versionOf(folder: string): string {
  try {
    return execFileSync('git', ['-C', folder, 'describe', '--always', '--dirty'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return folder;
  }
}

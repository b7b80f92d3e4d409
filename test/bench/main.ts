import { cpus } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Figure, printFigures } from '../chaos/figures.ts';
import type { Plot, Row } from './row.ts';
import { rows } from './rows.ts';
import { openSites } from './site.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { json: { type: 'boolean', default: false }, help: { type: 'boolean', default: false } },
});

if (values.help) {
  console.log(`npm run bench -- [--json] [ROW...]

Starts gateways as real processes on 127.0.0.1, measures them, and says which goals hold; ends with status 1 when one does
not. Without the name of a row, all of them run, one after the other:
${rows.map(({ name, title, minutes }) => `  ${name.padEnd(16)}${title} (${minutes} min)`).join('\n')}`);
  process.exit(0);
}

const unknown = positionals.filter((name) => rows.every((row) => row.name !== name));
if (unknown.length > 0) {
  console.error(`there is no row ${unknown.join(', ')}; there are ${rows.map(({ name }) => name).join(', ')}`);
  process.exit(2);
}

const checkout = join(import.meta.dirname, '../../..');
const say = (line: string) => console.error(line);
const chosen = positionals.length === 0 ? rows : rows.filter(({ name }) => positionals.includes(name));
const figures: Figure[] = [];
const plots: Plot[] = [];
for (const row of chosen) {
  say(`${row.name}: ${row.title}`);
  figures.push(...(await measured(row)));
}
say(`${cpus().length} cores, ${cpus()[0]?.model.trim()}, Node.js ${process.version}`);
printFigures(figures, values.json);

/** A row that cannot be measured is a goal that is not reached; the others are still measured. */
async function measured(row: Row): Promise<readonly Figure[]> {
  const sites = openSites(checkout);
  try {
    const result = await row.run({ sites, checkout, say });
    plots.push(...(result.plots ?? []));
    return result.figures;
  } catch (error) {
    say(`${row.name}: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    return [{ name: row.name, value: 'not measured', goal: 'measured', holds: false }];
  } finally {
    await sites.close();
  }
}

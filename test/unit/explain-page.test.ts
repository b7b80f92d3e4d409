import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { failures, goodStates } from '../../operator/failures.ts';
import { usualSightingLimits } from '../../queue/sightings.ts';

const file = new URL('../../docs/explain.md', import.meta.url).pathname;

it('docs/explain.md has every failure, as the catalogue has it, and the bounds of what is kept', async () => {
  const rows = Object.entries({ ...failures, ...goodStates }).map(
    ([id, { title, cause, cure }]) => `| \`${id}\` | ${title} | ${cause} | ${cure} |`,
  );
  const table = ['| id | title | cause | cure |', '| --- | --- | --- | --- |', ...rows].join('\n');
  const page = readFileSync(file, 'utf8');
  const written = page.replace(
    /(<!-- from operator\/failures\.ts: .* -->\n)[\s\S]*(<!-- end -->)/,
    (_all, begin: string, end: string) => `${begin}\n${table}\n\n${end}`,
  );
  await expect(written).toMatchFileSnapshot(file);
  const { perSerial, serials } = usualSightingLimits;
  for (const kind of ['own', 'unproven', 'unknown'] as const)
    expect(page).toMatch(
      new RegExp(`\\| ${kind} \\|.*\\| ${perSerial[kind]} \\| ${serials[kind].toLocaleString('en')} \\|`),
    );
});

it('every verdict is brought about for real in a test that asks cvm explain and the console', () => {
  const folder = new URL('../flow/', import.meta.url);
  const tests = readdirSync(folder).filter((name) => /^explain-.*\.test\.ts$/.test(name));
  const text = tests.map((name) => readFileSync(new URL(name, folder), 'utf8')).join('\n');
  // as the last argument of a call that expects a verdict, or in a row of a table of cases
  const calls = [...text.matchAll(/(?:erdict|anHourLater)\([^;]*?, '([a-z0-9-]+)'\)/g)];
  const rows = [...text.matchAll(/\[\s*(?:'[^'\n]*',\s*)?'([a-z0-9-]+)',/g)];
  const tried = new Set([...calls, ...rows].map(([, id]) => id));
  expect(Object.keys({ ...failures, ...goodStates }).filter((id) => !tried.has(id))).toEqual([]);
});

import { readFileSync, writeFileSync } from 'node:fs';
import { expect, it } from 'vitest';

const page = 'docs/audit.md';

/** A row for each event. Types are not there at run time, so the source is read. */
function eventTable(): string {
  const source = readFileSync('telemetry/audit-events.ts', 'utf8');
  const [, events = ''] = /^export type AuditEvents = \{\n([\s\S]*?)^\};$/m.exec(source) ?? [];
  const named = [...events.matchAll(/^ {2}'?([\w-]+)'?:/gm)].map(([, name = '']) => name);
  const said = [...events.matchAll(/^ {2}\/\*\* ([^\n]*) \*\/\n {2}'?([\w-]+)'?:/gm)];
  expect(said.map(([, , name]) => name)).toEqual(named);
  expect(named.length).toBeGreaterThan(20);
  const rows = said.map(([, text, name]) => `| \`${name}\` | ${text} |`);
  return ['| event | recorded when |', '| --- | --- |', ...rows].join('\n');
}

it('docs/audit.md has every audit event, as the code has them: npm run reference writes it', () => {
  const written = readFileSync(page, 'utf8').replace(
    /(<!-- from telemetry\/audit-events\.ts: .* -->\n)[\s\S]*(<!-- end -->)/,
    (_all, begin: string, end: string) => `${begin}\n${eventTable()}\n\n${end}`,
  );
  if (process.env.GOLDEN === 'write') writeFileSync(page, written);
  expect(readFileSync(page, 'utf8')).toBe(written);
});

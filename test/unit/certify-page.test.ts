import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { cases } from '../../certify/cases/cases.ts';
import { renderSheet } from '../../certify/page.ts';
import { rules } from '../../certify/rules.ts';
import type { CaseResult } from '../../certify/run-case.ts';
import { brokenRules, isConformant, type Sheet, sheetText } from '../../certify/sheet.ts';

const page = readFileSync('docs/certify.md', 'utf8');
/** The anchors of a page as GitHub makes them, with its name. */
const anchorsOf = (file: string) =>
  [...readFileSync(file, 'utf8').matchAll(/^#+ (.*)$/gm)].map(([, title = '']) => {
    const anchor = title.toLowerCase().replace(/[^\w\s-]/g, '');
    return `${file}#${anchor.trim().replace(/\s/g, '-')}`;
  });
const anchors = new Set(['docs/protocol.md', 'docs/fleet-provisioning.md'].flatMap(anchorsOf));

describe('docs/certify.md', () => {
  it.each(cases.map(({ name, plays, wants }) => [name, `| \`${name}\` | ${plays} | ${wants} |`]))(
    'has the case %s as it is played',
    (_name, row) => {
      expect(page).toContain(row);
    },
  );

  it.each(Object.entries(rules).map(([name, { cure }]) => [name, cure] as const))('has the rule %s', (name, cure) => {
    expect(page).toContain(`| \`${name}\``);
    expect(page).toContain(cure);
  });
});

it('every case and every rule refers to a section of a page that is there', () => {
  for (const { reference } of [...cases, ...Object.values(rules)]) expect(anchors).toContain(reference);
});

const finding = (rule: string, level: 'mandatory' | 'advice') => ({
  ...{ rule, level, cause: 'it <did> it', cure: 'do not' },
  reference: 'docs/protocol.md#waiting',
});
const result = (
  name: string,
  outcome: Sheet['results'][number]['outcome'],
  findings: ReturnType<typeof finding>[],
) => ({
  ...{ name, outcome, findings, plays: 'plays', wants: 'wants', did: '0.1 s asked', seconds: 1 },
  level: 'mandatory' as const,
});

describe('a sheet', () => {
  const sheet: Sheet = {
    serial: 'S',
    results: [
      result('one', 'advice', [finding('same-id', 'advice')]),
      result('two', 'failed', [finding('same-key', 'mandatory')]),
      result('three', 'failed', [finding('same-key', 'mandatory')]),
      result('four', 'skipped', []),
    ],
  };

  it('names each broken rule once, with its cases, and first what fails the device', () => {
    expect(brokenRules(sheet).map(({ rule, cases: names }) => [rule, names])).toEqual([
      ['same-key', ['two', 'three']],
      ['same-id', ['one']],
    ]);
    expect(sheetText(sheet)).toMatch(
      /BROKEN: same-key \(two, three\)\n {2}cause .*\n {2}cure .*\n {2}see .*protocol\.md/,
    );
  });

  it('ends with what the program of the device wrote last, in the first case that failed', () => {
    const [one, two, ...rest] = sheet.results as [CaseResult, CaseResult, ...CaseResult[]];
    const output = "Traceback:\nNo module named 'paho'\n";
    expect(sheetText({ ...sheet, results: [one, { ...two, output }, ...rest] })).toMatch(
      /What its program wrote last in two:\n {2}Traceback:\n {2}No module named 'paho'$/,
    );
  });

  it.each([
    ['passed', true],
    ['advice', true],
    ['skipped', true],
    ['failed', false],
    ['not-run', false],
  ] as const)('with a case that is %s is conformant: %s', (outcome, conformant) => {
    expect(isConformant({ serial: 'S', results: [result('one', outcome, [])] })).toBe(conformant);
  });

  it('is a page without a script, in which nothing of the device is HTML', () => {
    const html = renderSheet(sheet, { firmware: '<b>1</b>', startedAt: '2026-11-28T14:00:00Z', version: '0.1.0' });
    expect(html).not.toMatch(/<script|<b>1<\/b>|<did>/);
    expect(html).toContain('not conformant: 1 of 3 cases passed, 2 failed, 1 do not concern it');
  });
});

import { type Profile, profileText } from './profile.ts';
import type { Finding } from './rules.ts';
import type { CaseResult, Outcome } from './run-case.ts';

/** What a device did in each case. */
export type Sheet = {
  readonly serial: string;
  /** missing where it never asked */
  readonly profile?: Profile;
  readonly results: readonly CaseResult[];
};

/** Whether all mandatory cases hold. A case that was not played holds nothing. */
export const isConformant = ({ results }: Sheet): boolean =>
  results.every(({ outcome }) => outcome !== 'failed' && outcome !== 'not-run');

export type Counts = Readonly<Record<Outcome, number>>;

export function countsOf({ results }: Sheet): Counts {
  const counts = { passed: 0, advice: 0, failed: 0, skipped: 0, 'not-run': 0 };
  for (const { outcome } of results) counts[outcome]++;
  return counts;
}

/** Each rule that was broken, once, with the cases in which it was. Those that fail the device come first. */
export function brokenRules({ results }: Sheet): (Finding & { readonly cases: readonly string[] })[] {
  const byRule = new Map<string, Finding & { cases: string[] }>();
  for (const { name, findings } of results)
    for (const finding of findings) {
      const known = byRule.get(finding.rule) ?? { ...finding, cases: [] };
      if (!known.cases.includes(name)) known.cases.push(name);
      byRule.set(finding.rule, known);
    }
  const rank = ({ level }: Finding) => (level === 'mandatory' ? 0 : 1);
  return [...byRule.values()].sort((a, b) => rank(a) - rank(b));
}

export const outcomeWords: Readonly<Record<Outcome, string>> = {
  passed: 'passed',
  advice: 'passed, advice',
  failed: 'FAILED',
  skipped: 'skipped',
  'not-run': 'not run',
};

/** One sentence. */
export function verdictOf(sheet: Sheet): string {
  const { passed, advice, failed, skipped, 'not-run': notRun } = countsOf(sheet);
  const verdict = isConformant(sheet) ? 'conformant' : 'not conformant';
  const parts = [
    `${passed + advice} of ${sheet.results.length - skipped} cases passed`,
    ...(failed > 0 ? [`${failed} failed`] : []),
    ...(notRun > 0 ? [`${notRun} not run`] : []),
    ...(skipped > 0 ? [`${skipped} do not concern it`] : []),
  ];
  return `${verdict}: ${parts.join(', ')}`;
}

/** The sheet as text: a table, then each rule that was broken with cause and cure. */
export function sheetText(sheet: Sheet): string {
  const wide = Math.max(...sheet.results.map(({ name }) => name.length), 4);
  const rows = sheet.results.map(
    ({ name, outcome, did }) => `  ${name.padEnd(wide)}  ${outcomeWords[outcome].padEnd(14)}  ${did}`,
  );
  const rules = brokenRules(sheet).flatMap(({ rule, level, cause, cure, reference, cases }) => [
    '',
    `${level === 'mandatory' ? 'BROKEN' : 'Advice'}: ${rule} (${cases.join(', ')})`,
    `  cause  ${cause}`,
    `  cure   ${cure}`,
    `  see    ${reference}`,
  ]);
  return [
    `${sheet.serial}: ${verdictOf(sheet)}`,
    ...(sheet.profile === undefined ? [] : [profileText(sheet.profile)]),
    '',
    ...rows,
    ...rules,
    ...outputOf(sheet),
  ].join('\n');
}

/** Of the program of the device, in the first case that failed: a program that cannot begin says why. */
function outputOf({ results }: Sheet): string[] {
  const [first] = results.filter(({ output }) => output !== undefined);
  if (first?.output === undefined) return [];
  const lines = first.output.trimEnd().split('\n').slice(-shownLines);
  return ['', `What its program wrote last in ${first.name}:`, ...lines.map((line) => `  ${line}`)];
}

const shownLines = 8;

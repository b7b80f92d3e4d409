import { Command, Option } from 'commander';
import type { App } from '../app/app.ts';
import { type Finding, parts } from '../operator/doctor/check.ts';
import { isWell, runChecks, selected } from '../operator/doctor/run.ts';
import type { Part } from '../operator/doctor/sources.ts';
import { counted } from '../runtime/counted.ts';
import { SettingsError } from '../runtime/settings-error.ts';
import { settingMeaning } from '../runtime/settings-reference.ts';
import { chooseAws } from './stand-in.ts';
import { type Colour, coloured, oneLine, terminalOf } from './table.ts';

export type DoctorContext = { app(): Promise<App>; write(line: string): void };

type Options = { fix?: boolean; json?: boolean; quick?: boolean; part?: Part };

export function doctorCommand(context: DoctorContext): Command {
  return new Command('doctor')
    .option(
      '--fix',
      'mend what can be mended without a person: rights of files, the append-only file of Redis, the names in the server certificate',
    )
    .option('--quick', 'look at this machine, its files and its Redis only, and not at AWS')
    .addOption(new Option('--part <part>', 'only what concerns the machine of this part').choices(parts))
    .option('--json', 'as JSON: one array of findings (docs/doctor.md has their form)')
    .addHelpText('after', '\nExit status: 0 nothing fails, 1 something fails (the cure is printed), 2 wrong use.')
    .action((options: Options) => examine(context, options));
}

async function examine({ app, write }: DoctorContext, options: Options): Promise<void> {
  const { fix = false, quick = false, part, json } = options;
  const findings = await find(app, { fix, quick, of: part === undefined ? parts : [part] });
  if (json) write(JSON.stringify(findings));
  else for (const line of linesOf(findings)) write(line);
  process.exitCode = isWell(findings) ? 0 : 1;
}

async function find(
  app: () => Promise<App>,
  { fix, quick, of }: { fix: boolean; quick: boolean; of: readonly Part[] },
): Promise<readonly Finding[]> {
  try {
    const { openDoctor } = await import('../app/doctor.ts');
    const { redisInUse } = await import('../app/redis.ts');
    const { checks } = await import('../operator/doctor/checks.ts');
    const first = await app();
    const chosen = chooseAws(first.settings);
    if (chosen.remark !== undefined) console.error(`cvm: ${chosen.remark}`);
    const examined = { ...first, settings: chosen.settings };
    const sources = openDoctor(examined, redisInUse(first.settings), of);
    return await runChecks(selected(checks, { quick, parts: of }), sources, { fix });
  } catch (error) {
    // without valid settings no other check can run
    if (!(error instanceof SettingsError)) throw error;
    return error.problems.map((seen) => ({
      ...{ id: 'settings', title: 'settings', outcome: 'fail' as const, seen, fixable: false },
      cause: `no part starts with it, and nothing else could be looked at.${meantBy(seen)}`,
      cure: 'correct it in the environment or in .env, and run this again',
    }));
  }
}

/** What the setting is for, by the name that a problem of the settings begins with. */
function meantBy(problem: string): string {
  const name = /^[A-Z][A-Z0-9_]+/.exec(problem)?.[0] ?? '';
  const meaning = settingMeaning(name);
  return meaning === undefined ? '' : ` ${name}: ${meaning}`;
}

const marks: Readonly<Record<Finding['outcome'], readonly [text: string, colour: Colour | undefined]>> = {
  ok: ['ok   ', 'green'],
  warn: ['WARN ', 'yellow'],
  fail: ['FAIL ', 'red'],
  skipped: ['-    ', undefined],
};

function linesOf(findings: readonly Finding[]): string[] {
  const { colours = false } = terminalOf(process.stdout) ?? {};
  const count = (outcome: Finding['outcome']) => findings.filter((each) => each.outcome === outcome).length;
  const fixable = findings.filter(({ fixable, fix }) => fixable && fix === undefined).length;
  return [
    ...findings.flatMap(({ outcome, title, seen, cause, cure, fix }) => [
      `${coloured(...marks[outcome], colours)} ${title}: ${oneLine(seen)}`,
      ...(outcome === 'ok' || outcome === 'skipped' || cause === undefined ? [] : [`      why: ${oneLine(cause)}`]),
      ...(outcome === 'ok' || outcome === 'skipped' || cure === undefined ? [] : [`      →    ${oneLine(cure)}`]),
      ...(fix === undefined ? [] : [`      ${fix}`]),
    ]),
    '',
    `${counted(count('fail'), 'failure')}, ${counted(count('warn'), 'warning')}, ${count('ok')} good, ${count('skipped')} not looked at${fixable === 0 ? '' : `; --fix mends ${fixable}`}`,
  ];
}

import { setTimeout as sleep } from 'node:timers/promises';
import { Command, Option } from 'commander';
import type { App } from '../app/app.ts';
import { duration } from '../operator/judge-status.ts';
import type { Status, StatusCheck } from '../operator/status.ts';
import { durationMs } from './duration.ts';
import { type Colour, coloured, oneLine, terminalOf } from './table.ts';

export type StatusContext = { awsApp(): Promise<App>; write(line: string): void };

type Options = { watch?: number | true; json?: boolean };

/** How often the screen is drawn anew, in milliseconds. */
const usualWatchMs = 2000;

export function statusCommand({ awsApp, write }: StatusContext): Command {
  return new Command('status')
    .addOption(
      new Option('--watch [interval]', 'draw it again every two seconds, or every 5s, 1m, until interrupted').argParser(
        durationMs,
      ),
    )
    .option('--json', 'as JSON; with --watch one object a line (docs/status.md has its form)')
    .addHelpText('after', '\nExit status: 0 all is well, 1 something failed (the cure is printed), 2 wrong use.')
    .action(async ({ watch, json }: Options) => {
      const { redisInUse } = await import('../app/redis.ts');
      const { openStatus } = await import('../app/status.ts');
      const app = await awsApp();
      const status = openStatus(app, redisInUse(app.settings));
      const everyMs = watch === true ? usualWatchMs : watch;
      for (;;) {
        const read = await status.read();
        process.exitCode = read.ok ? 0 : 1;
        if (json) write(JSON.stringify(read));
        else write(`${everyMs !== undefined && process.stdout.isTTY ? clearScreen : ''}${screenOf(read).join('\n')}`);
        if (everyMs === undefined) return;
        await sleep(everyMs);
      }
    });
}

/** Cursor to the top left, and everything after it gone: without a flicker. ECMA-48, CUP and ED */
const clearScreen = '\u001b[H\u001b[J';

const marks: Readonly<Record<StatusCheck['state'], readonly [text: string, colour: Colour | undefined]>> = {
  ok: ['ok     ', 'green'],
  warning: ['WARNING', 'yellow'],
  failed: ['FAILED ', 'red'],
  unknown: ['?      ', undefined],
};

/** One line for each check, with its cure below where there is one, then the processes. */
function screenOf(status: Status): string[] {
  const { colours = false } = terminalOf(process.stdout) ?? {};
  const { at, site, version, ok, checks, processes = [], devices } = status;
  const width = Math.max(...checks.map(({ title }) => title.length));
  return [
    `cvm-gateway ${version}${site === undefined ? '' : `, site ${site}`}, ${at}: ${ok ? 'all is well' : 'something failed'}`,
    '',
    ...checks.flatMap(({ title, state, says, cure }) => [
      `${coloured(...marks[state], colours)}  ${title.padEnd(width)}  ${oneLine(says)}`,
      ...(cure === undefined || state === 'ok' ? [] : [`${' '.repeat(width + 11)}→ ${oneLine(cure)}`]),
    ]),
    ...(devices === undefined ? [] : ['', devicesLine(devices)]),
    ...(processes.length === 0 ? [] : ['', ...processes.map((each) => oneLine(processLine(each, Date.parse(at))))]),
  ];
}

/** States that no device is in are left out. */
function devicesLine({ total, silent = 0, ...states }: NonNullable<Status['devices']>): string {
  const { enrolled, provisioning, registered, blocked, unknown } = states;
  const named = {
    'waiting to be vended': enrolled,
    'being provisioned': provisioning,
    registered,
    blocked,
    'of an unknown state': unknown,
  };
  const parts = Object.entries(named).flatMap(([name, count = 0]) => (count === 0 ? [] : [`${count} ${name}`]));
  const never = silent === 0 ? '' : `; ${silent} never connected to AWS ("cvm devices list --silent")`;
  return `devices of this site: ${total}${parts.length === 0 ? '' : ` (${parts.join(', ')})`}${never}`;
}

function processLine(
  { part, host, pid, version, since, site }: NonNullable<Status['processes']>[number],
  now: number,
): string {
  const place = site === undefined ? '' : `, site ${site}`;
  return `${part.padEnd(8)}${host}, process ${pid}, version ${version}${place}, up for ${duration((now - Date.parse(since)) / 1000)}`;
}

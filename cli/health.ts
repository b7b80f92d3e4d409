import { readFileSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { errorText, systemCure } from '../runtime/errors.ts';
import { portNumber } from './numbers.ts';

type Options = { port?: number; host: string; trouble?: string; url?: string; file?: string; maxAge: number };

const timeoutMs = 3000;

/** For health checks of containers: the image has no curl. */
export function healthCommand({ write }: { write(line: string): void }): Command {
  return new Command('health')
    .addOption(
      new Option('--port <n>', 'a TCP connection to this port succeeds').argParser(portNumber).conflicts('url'),
    )
    .option('--host <name>', 'with --port', '127.0.0.1')
    .addOption(new Option('--url <url>', 'this address answers with status 200'))
    .option(
      '--file <path>',
      'this file was written to in the last --max-age seconds: the part runs. It writes broker.alive, worker.alive or console.alive in CVM_HEALTH_DIR',
      path,
    )
    .option(
      '--trouble <path>',
      'the part wrote no trouble to this file in the last --max-age seconds: it does its work. It writes broker.trouble or worker.trouble',
      path,
    )
    .option('--max-age <seconds>', 'with --file and --trouble', number, 30)
    .addHelpText(
      'after',
      '\nEvery option that you give is checked. Without --trouble, the check fails only for faults that a restart of the part heals.',
    )
    .action(async (options: Options, command: Command) => {
      const fault = await findFault(options, command);
      if (fault === undefined) write(`ok${siteIn(options)}`);
      else console.error(fault);
      process.exitCode = fault === undefined ? 0 : 1;
    });
}

/** As the part says itself; '' where it has none. */
function siteIn({ file, trouble }: Options): string {
  const alive = file ?? trouble?.replace(/(?:\.trouble)?$/, '.alive');
  try {
    return /^alive(, site \S+)$/m.exec(alive === undefined ? '' : readFileSync(alive, 'utf8'))?.[1] ?? '';
  } catch {
    // it ended a moment ago
    return '';
  }
}

/** Why the part does not work; undefined when it does. */
async function findFault(options: Options, command: Command): Promise<string | undefined> {
  const { port, host, trouble, url, file, maxAge } = options;
  const checks = [
    ...(port === undefined ? [] : [() => faultOfPort(host, port)]),
    ...(url === undefined ? [] : [() => faultOfUrl(url)]),
    ...(file === undefined ? [] : [() => faultOfFile(file, maxAge)]),
    ...(trouble === undefined ? [] : [() => recentTrouble(trouble, maxAge)]),
  ];
  if (checks.length === 0) return command.error('give --port, --url, --file or --trouble', { exitCode: 2 });
  try {
    for (const check of checks) {
      const fault = await check();
      if (fault !== undefined) return fault;
    }
  } catch (error) {
    return faultOfError(error, options);
  }
  return undefined;
}

const notThere =
  'the part has not started yet, or has ended, or listens on another address or port: see its log and its settings';

/** With the cure, where the error names none. */
function faultOfError(error: unknown, { port, host, url, file }: Options): string {
  const reason = errorText(error);
  const target = port === undefined ? url : `${host}:${port}`;
  if (reason.includes('ECONNREFUSED')) return `nothing listens at ${target} (ECONNREFUSED): ${notThere}`;
  if (/ENOTFOUND|EAI_AGAIN/.test(reason)) return `the name in ${target} cannot be resolved (${reason}): correct it`;
  // https://fetch.spec.whatwg.org/#port-blocking
  if (reason.endsWith('bad port'))
    return `${url} has a port that HTTP clients refuse, since another protocol has it: serve it on another port`;
  if (isMissing(error))
    return `${file} does not exist: the part that writes it has not started yet, or writes another file; correct the path`;
  const cure = systemCure(error);
  const said = cure === undefined ? reason : `${reason}: ${cure}`;
  return target === undefined ? said : `${target}: ${said}`;
}

const isMissing = (error: unknown) => (error as NodeJS.ErrnoException).code === 'ENOENT';

function faultOfPort(host: string, port: number): Promise<undefined> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, timeout: timeoutMs });
    socket
      .once('connect', () => resolve(undefined))
      .once('error', reject)
      .once('timeout', () => reject(new Error(`${host}:${port} does not answer`)));
    socket.once('connect', () => socket.destroy());
  });
}

async function faultOfUrl(url: string): Promise<string | undefined> {
  const { status } = await fetch(url, { signal: AbortSignal.timeout(timeoutMs) });
  return status === 200 ? undefined : `${url} answers with status ${status}`;
}

const pathOfTrouble =
  'give the path of broker.trouble or worker.trouble in CVM_HEALTH_DIR, which is the data folder unless it is set';

/** A part that has no trouble has no such file. */
function recentTrouble(file: string, maxAgeSeconds: number): string | undefined {
  if (!statSync(dirname(file), { throwIfNoEntry: false })?.isDirectory())
    return `--trouble ${file}: the folder does not exist; ${pathOfTrouble}`;
  const found = statSync(file, { throwIfNoEntry: false });
  if (found === undefined) return faultWithout(file, maxAgeSeconds);
  if (!found.isFile()) return `--trouble ${file}: it is no file; ${pathOfTrouble}`;
  try {
    if (ageOf(file) > maxAgeSeconds) return faultWithout(file, maxAgeSeconds);
    return readFileSync(file, 'utf8').trim() || `${file} is empty: ${unwritten}`;
  } catch (error) {
    // the part removes it when the trouble is over
    if (isMissing(error)) return faultWithout(file, maxAgeSeconds);
    throw error;
  }
}

/** On a full disk a file can be made, and not written. */
const unwritten =
  'the part has a trouble and could not write which, as on a full disk: free space there, and see its log';

/** No trouble is told also by a part that has ended, and by a path with a mistake: the file beside it says which. */
function faultWithout(trouble: string, maxAgeSeconds: number): string | undefined {
  const alive = trouble.replace(/(?:\.trouble)?$/, '.alive');
  if (!statSync(alive, { throwIfNoEntry: false })?.isFile())
    return `--trouble ${trouble}: neither it nor ${alive} is there: the part has not started yet, has ended, or writes other files; ${pathOfTrouble}`;
  return faultOfFile(alive, maxAgeSeconds);
}

/** seconds */
function ageOf(file: string): number {
  return (Date.now() - statSync(file).mtimeMs) / 1000;
}

function faultOfFile(file: string, maxAgeSeconds: number): string | undefined {
  const age = ageOf(file);
  // a time far ahead was written before the clock was set back, and nothing was written since
  return Math.abs(age) <= maxAgeSeconds
    ? undefined
    : `${file} was last written to ${age.toFixed(0)} s ago: the part has ended, or is frozen or blocked; see its log, and restart it`;
}

function number(text: string): number {
  const value = Number(text.replace(/s$/, ''));
  if (!Number.isFinite(value) || value < 0) throw new InvalidArgumentError('It must be a number from 0.');
  return value;
}

function path(text: string): string {
  if (text.trim() === '') throw new InvalidArgumentError('It must be the path of a file.');
  return text;
}

import { randomBytes, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { parse } from 'csv-parse/sync';
import type { Credential, Flow } from '../gateway-sim/device.ts';
import { summary } from '../gateway-sim/report.ts';
import { simulate } from '../gateway-sim/simulate.ts';
import { type EnrolDeps, enrol } from '../operator/enrol.ts';
import type { Settings } from '../runtime/settings.ts';
import { portNumber, wholeNumber } from './numbers.ts';
import { startProgress } from './progress.ts';
import { UsageError } from './usage-error.ts';

export type SimContext = {
  settings(): Settings;
  operator(): EnrolDeps;
  write(line: string): void;
};

type Options = {
  devices: number;
  host: string;
  port?: number;
  ca?: string;
  flow: Flow;
  concurrency: number;
  credentials?: string;
  prefix: string;
  timeout: number;
  allowRemote?: boolean;
  json?: boolean;
};

export function simCommand(context: SimContext): Command {
  return new Command('sim')
    .option('--devices <n>', 'number of devices', wholeNumber, 100)
    .option('--host <name>', 'host of the broker', 'localhost')
    .option('--port <n>', 'its port (default: CVM_MQTT_PORT)', portNumber)
    .option('--ca <file>', 'CA that signed its certificate (default: the site CA of the data folder)')
    .addOption(
      new Option('--flow <flow>', 'the key pair is made by AWS (rsa), the gateway (ec) or the device (csr)')
        .choices(['rsa', 'ec', 'csr'])
        .default('rsa'),
    )
    .option('--concurrency <n>', 'devices connected at the same time', wholeNumber, 100)
    .addOption(
      new Option(
        '--credentials <file.csv>',
        'serial,token of devices that are enrolled already (default: enrol new ones)',
      ).conflicts(['devices', 'prefix']),
    )
    .option('--prefix <text>', 'first part of the serials of new devices', 'sim')
    .option('--timeout <seconds>', 'time limit for each device', wholeNumber, 600)
    .option('--allow-remote', 'allow a host that is not this machine; ask its owner first')
    .option('--json', 'print the report as JSON')
    .addHelpText(
      'after',
      '\nThe AWS stand-in spends 50 to 100 ms of CPU on each RSA key pair, which AWS would spend on its own machines. To measure\nthe gateway, use --flow ec or csr, or set CVM_AWS_LOCAL_KEY_POOL and CVM_AWS_LOCAL_QUOTAS=off for the stand-in.',
    )
    .action((options: Options, command: Command) => sim(context, options, command));
}

async function sim(context: SimContext, options: Options, command: Command): Promise<void> {
  const { host, flow, concurrency, timeout } = options;
  if (!options.allowRemote && !isLoopback(host))
    command.error(
      `${host} is not this machine; a load test of another machine needs --allow-remote, and its owner's consent`,
      { exitCode: 2 },
    );
  const caPem = await readCa(options.ca ?? siteCaFile(context));
  const devices =
    options.credentials === undefined
      ? await enrolAll(newSerials(options), context.operator())
      : await readCredentials(options.credentials);
  const gateway = { host, port: options.port ?? context.settings().mqttPort, caPem };
  const progress = showProgress(devices.length);
  const interruption = untilInterrupted();
  const result = await simulate({
    ...{ gateway, devices, flow, concurrency, timeoutMs: timeout * 1000 },
    signal: interruption.signal,
    onProgress: progress.set,
  });
  progress.end();
  interruption.end();
  context.write(options.json ? JSON.stringify(result) : summary(result));
  if (result.accepted !== devices.length) process.exitCode = 1;
  if (interruption.signal.aborted) {
    console.error(`cvm: interrupted when ${result.devices} of ${devices.length} devices had ended`);
    process.exitCode = 130;
  }
}

/** SIGINT ends the run, and what is known by then is reported. A second one ends the process. */
function untilInterrupted() {
  const controller = new AbortController();
  const abort = () => controller.abort();
  process.once('SIGINT', abort);
  return { signal: controller.signal, end: () => process.off('SIGINT', abort) };
}

const siteCaFile = ({ settings }: SimContext): string => join(settings().dataDir, 'tls', 'site-ca.crt');

function newSerials({ prefix, devices }: Options): string[] {
  const run = randomBytes(3).toString('hex');
  return Array.from({ length: devices }, (_, index) => `${prefix}-${run}-${index + 1}`);
}

async function enrolAll(serials: readonly string[], deps: EnrolDeps): Promise<Credential[]> {
  const requests = serials.map((serial) => ({ serial }));
  const { outcomes } = await enrol(requests, deps);
  return outcomes.map((outcome) => {
    if (outcome.outcome === 'enrolled') return { serial: outcome.serial, token: outcome.token };
    const reason = outcome.outcome === 'exists' ? 'it is enrolled already' : outcome.reason;
    throw new Error(`${JSON.stringify(outcome.serial)} cannot be enrolled: ${reason}`);
  });
}

async function readCredentials(file: string): Promise<Credential[]> {
  const text = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new UsageError(`${file} cannot be read (${error.code})`);
  });
  const rows = parse(text, { columns: true, bom: true, trim: true, skip_empty_lines: true }) as Partial<Credential>[];
  if (rows.length === 0) throw new UsageError(`${file} has no device`);
  return rows.map(({ serial, token }) => {
    if (serial && token) return { serial, token };
    throw new UsageError(`${file}: every row needs a serial and a token, and the first line must be "serial,token"`);
  });
}

async function readCa(file: string): Promise<string> {
  const pem = await readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    throw new UsageError(
      `the CA file ${file} cannot be read (${error.code}): start the gateway once, or name the CA of your own certificate with --ca`,
    );
  });
  try {
    new X509Certificate(pem);
    return pem;
  } catch {
    throw new UsageError(`the CA file ${file} has no certificate in PEM`);
  }
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

/** Draws a bar of 30 characters. */
function showProgress(total: number) {
  let [done, accepted] = [0, 0];
  const progress = startProgress((perSecond) => {
    const share = total === 0 ? 1 : done / total;
    const bar = '█'.repeat(Math.round(share * 30)).padEnd(30, '░');
    return `${bar} ${done}/${total} devices, ${accepted} accepted, ${perSecond(done).toFixed(1)}/s`;
  });
  return {
    set(count: number, outcome: { kind: string }): void {
      done = count;
      if (outcome.kind === 'accepted') accepted++;
    },
    end: progress.end,
  };
}

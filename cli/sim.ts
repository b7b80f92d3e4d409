import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { Command, InvalidArgumentError, Option } from 'commander';
import { parse } from 'csv-parse/sync';
import type { Credential, Flow } from '../gateway-sim/device.ts';
import { summary } from '../gateway-sim/report.ts';
import { simulate } from '../gateway-sim/simulate.ts';
import { type EnrolDeps, enrol } from '../operator/enrol.ts';
import type { Settings } from '../runtime/settings.ts';

export type SimContext = {
  settings(): Settings;
  operator(): EnrolDeps;
  caPem(): Promise<string>;
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
    .description('simulated devices that ask the gateway for their certificates, for load tests')
    .option('--devices <n>', 'how many', whole, 100)
    .option('--host <name>', 'the broker', 'localhost')
    .option('--port <n>', 'its port (default: CVM_MQTT_PORT)', whole)
    .option('--ca <file>', 'the CA that its certificate is verified with (default: the site CA of the data folder)')
    .addOption(
      new Option('--flow <flow>', 'who makes the key pair: AWS, the gateway, or the device')
        .choices(['rsa', 'ec', 'csr'])
        .default('rsa'),
    )
    .option('--concurrency <n>', 'devices connected at the same time', whole, 100)
    .option(
      '--credentials <file.csv>',
      'serial,token of devices that are enrolled already; otherwise fresh ones are enrolled',
    )
    .option('--prefix <text>', 'what the serials of fresh devices begin with', 'sim')
    .option('--timeout <seconds>', 'for each device', whole, 600)
    .option('--allow-remote', 'for a host that is not this machine: only where you may')
    .option('--json', 'print the report as JSON')
    .addHelpText(
      'after',
      '\nThe stand-in spends 50 to 100 ms of CPU on each RSA key pair, which AWS would spend on its own machines: to measure\nthe gateway, use --flow ec or csr, or set CVM_AWS_LOCAL_KEY_POOL and CVM_AWS_LOCAL_QUOTAS=off for the stand-in.',
    )
    .action((options: Options, command: Command) => sim(context, options, command));
}

async function sim(context: SimContext, options: Options, command: Command): Promise<void> {
  const { host, flow, concurrency, timeout } = options;
  if (!options.allowRemote && !isLoopback(host))
    command.error(
      `${host} is not this machine; a load test of another one needs --allow-remote, and its owner's word`,
      { exitCode: 2 },
    );
  const caPem = options.ca === undefined ? await context.caPem() : await readFile(options.ca, 'utf8');
  const devices =
    options.credentials === undefined
      ? await enrolFresh(freshSerials(options), context.operator())
      : await readCredentials(options.credentials);
  const gateway = { host, port: options.port ?? context.settings().mqttPort, caPem };
  const progress = progressBar(devices.length);
  const result = await simulate({
    gateway,
    devices,
    flow,
    concurrency,
    timeoutMs: timeout * 1000,
    onProgress: progress.set,
  });
  progress.end();
  context.write(options.json ? JSON.stringify(result) : summary(result));
  if (result.accepted !== result.devices) process.exitCode = 1;
}

function freshSerials({ prefix, devices }: Options): string[] {
  const run = randomBytes(3).toString('hex');
  return Array.from({ length: devices }, (_, index) => `${prefix}-${run}-${index + 1}`);
}

async function enrolFresh(serials: readonly string[], deps: EnrolDeps): Promise<Credential[]> {
  const requests = serials.map((serial) => ({ serial }));
  const { outcomes } = await enrol(requests, deps);
  return outcomes.map((outcome) => {
    if (outcome.outcome === 'enrolled') return { serial: outcome.serial, token: outcome.token };
    const reason = outcome.outcome === 'exists' ? 'it is enrolled already' : outcome.reason;
    throw new Error(`${JSON.stringify(outcome.serial)} cannot be enrolled: ${reason}`);
  });
}

async function readCredentials(file: string): Promise<Credential[]> {
  return parse(await readFile(file, 'utf8'), { columns: true, trim: true, skip_empty_lines: true }) as Credential[];
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

function progressBar(total: number) {
  const start = performance.now();
  const terminal = process.stderr.isTTY;
  let [done, accepted] = [0, 0];
  const print = () => {
    const share = total === 0 ? 1 : done / total;
    const bar = '█'.repeat(Math.round(share * 30)).padEnd(30, '░');
    const rate = (done / Math.max(0.001, (performance.now() - start) / 1000)).toFixed(1);
    process.stderr.write(
      terminal
        ? `\r${bar} ${done}/${total}, ${accepted} accepted, ${rate}/s `
        : `${done}/${total} devices, ${accepted} accepted, ${rate}/s\n`,
    );
  };
  const timer = setInterval(print, terminal ? 200 : 5000);
  return {
    set(count: number, outcome: { kind: string }): void {
      done = count;
      if (outcome.kind === 'accepted') accepted++;
    },
    end(): void {
      clearInterval(timer);
      if (terminal) {
        print();
        process.stderr.write('\n');
      }
    },
  };
}

function whole(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError('It must be a whole number from 1.');
  return value;
}

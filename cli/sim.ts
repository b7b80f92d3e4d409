import { randomBytes, randomInt, X509Certificate } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Command, InvalidArgumentError, Option } from 'commander';
import { arrivalTimes } from '../gateway-sim/arrivals.ts';
import { behaviour, type Flow, usualBehaviour } from '../gateway-sim/behaviour.ts';
import { bundledScenarios, bundledSites } from '../gateway-sim/bundled.ts';
import type { Credential } from '../gateway-sim/device.ts';
import { makeDeviceKey } from '../gateway-sim/device-key.ts';
import { garbageCollector } from '../gateway-sim/garbage.ts';
import { renderPage } from '../gateway-sim/page.ts';
import { randomOf } from '../gateway-sim/random.ts';
import { fullReport, type Report, summary } from '../gateway-sim/report.ts';
import {
  behavioursOf,
  kindsText,
  loadScenario,
  loadSite,
  type Scenario,
  ScenarioError,
} from '../gateway-sim/scenario.ts';
import { type SimDevice, simulate } from '../gateway-sim/simulate.ts';
import { measureTls } from '../gateway-sim/tls-reference.ts';
import { watchProcesses } from '../gateway-sim/watched-processes.ts';
import type { EnrolDeps } from '../operator/enrol.ts';
import { letHeapGrow } from '../runtime/heap-growth.ts';
import type { Settings } from '../runtime/settings.ts';
import { checkWritable, untilInterrupted } from './long-run.ts';
import { deviceCount, portNumber, positiveNumber, wholeNumber } from './numbers.ts';
import { compareCommand } from './sim/compare.ts';
import { enrolAll, readCa, readCredentials } from './sim/credentials.ts';
import { cureOfReason, hints, type Place } from './sim/hints.ts';
import { showProgress } from './sim/progress.ts';
import { UsageError } from './usage-error.ts';

export type SimContext = {
  settings(): Promise<Settings>;
  operator(): Promise<EnrolDeps>;
  write(line: string): void;
};

type Options = {
  scenario?: string;
  site?: string;
  devices?: number;
  host: string;
  port?: number;
  ca?: string;
  flow: Flow;
  maxPacket?: number;
  concurrency?: number;
  credentials?: string;
  prefix: string;
  timeout?: number;
  seed?: number;
  quota?: number;
  gatewayPid?: readonly number[];
  issuerCa?: string;
  tlsReference?: number | true;
  allowRemote?: boolean;
  json?: boolean;
  html?: string;
};

/** Without a scenario: how many devices, and how many of them at the same time. */
const [usualDevices, usualConcurrency] = [100, 100];
/** Ten thousand devices keep what they have: a collection costs much and frees little. */
const heapGrowthPercent = 300;

/** Bare TLS connections that tell apart what TLS costs the simulator. */
const referenceConnections = 1000;

export function simCommand(context: SimContext): Command {
  return new Command('sim')
    .option('--scenario <name|file.json>', 'how devices act and when they come, see "cvm sim scenarios"')
    .option('--site <name|file.json>', 'the devices of a site, instead of those of the scenario')
    .option('--devices <n>', `number of devices (default: ${usualDevices}, or what the site has)`, deviceCount)
    .option('--host <name>', 'host of the broker', 'localhost')
    .option('--port <n>', 'its port (default: CVM_MQTT_PORT)', portNumber)
    .option('--ca <file>', 'CA that signed its certificate (default: the site CA of the data folder)')
    .addOption(
      new Option('--flow <flow>', 'the key pair is made by AWS (rsa), the gateway (ec) or the device (csr)')
        .choices(['rsa', 'ec', 'csr'])
        .default('rsa')
        .conflicts(['scenario', 'site']),
    )
    .addOption(
      new Option('--max-packet <bytes>', 'devices take no larger MQTT packet: longer replies come in parts')
        .argParser(packetSize)
        .conflicts(['scenario', 'site']),
    )
    .option(
      '--concurrency <n>',
      `devices connected at the same time (default: ${usualConcurrency}, or all of a scenario's)`,
      wholeNumber,
    )
    .addOption(
      new Option(
        '--credentials <file.csv>',
        'serial,token of devices that are enrolled already (default: enrol new ones)',
      ).conflicts(['devices', 'prefix']),
    )
    .option('--prefix <text>', 'first part of the serials of new devices', 'sim')
    .option('--timeout <seconds>', "time limit for each device (default: 600, or the scenario's)", wholeNumber)
    .option('--seed <n>', 'of all random numbers, so that a run can be repeated (default: a random one)', wholeNumber)
    .option('--quota <n>', 'certificates a second that the run is compared with', positiveNumber)
    .option('--gateway-pid <pid,…>', "the gateway's processes on this machine, whose CPU and memory are recorded", pids)
    .option('--issuer-ca <file>', 'CA that must have signed the certificates')
    .option(
      '--tls-reference [connections]',
      `measure bare TLS connections first (${referenceConnections}), to tell the simulator's own cost from that of TLS`,
      wholeNumber,
    )
    .option('--allow-remote', 'allow a host other than localhost and loopback addresses; ask its owner first')
    .option('--json', 'print the report as JSON')
    .option('--html <file>', 'write the report as one HTML file with plots')
    .addCommand(scenariosCommand(context.write))
    .addCommand(compareCommand(context.write))
    .addHelpText('after', help)
    .action((options: Options, command: Command) => sim(context, options, command));
}

const help = `
Exit status: 0 when every device ended as it should, 1 when one did not, 2 for wrong use, 130 or 143 when it was interrupted: SIGINT and
SIGTERM end the run with a report of what is known by then.

The AWS stand-in spends 50 to 100 ms of CPU on each RSA key pair, which AWS would spend on its own machines. To measure
the gateway, use --flow ec or csr, or set CVM_AWS_LOCAL_KEY_POOL and CVM_AWS_LOCAL_QUOTAS=off for the stand-in, and CVM_QUOTAS=off for the worker.`;

function scenariosCommand(write: (line: string) => void): Command {
  const list = (all: Readonly<Record<string, { description: string }>>) =>
    Object.entries(all).map(([name, { description }]) => `  ${name.padEnd(18)}${description}`);
  return new Command('scenarios')
    .description('list the scenarios and sites that come with the program')
    .action(() => write(['scenarios', ...list(bundledScenarios), 'sites', ...list(bundledSites)].join('\n')));
}

async function sim(context: SimContext, options: Options, command: Command): Promise<void> {
  const { host } = options;
  letHeapGrow(heapGrowthPercent);
  if (!options.allowRemote && !isLoopback(host))
    command.error(
      `${host} is no loopback address; a load test of another machine needs --allow-remote, and its owner's consent`,
      { exitCode: 2 },
    );
  const scenario = await chooseScenario(options);
  if (options.html !== undefined) checkWritable(options.html);
  const caFile = options.ca ?? (await siteCaFile(context));
  const caPem = await readCa(caFile, ': start the gateway once, or name the CA of your own certificate with --ca');
  const issuerPem = options.issuerCa === undefined ? undefined : await readCa(options.issuerCa);
  const gatewayUsage = options.gatewayPid === undefined ? undefined : watch(options.gatewayPid);
  const credentials =
    options.credentials === undefined
      ? await enrolAll(newSerials(options.prefix, options.devices ?? scenario.site.devices), await context.operator())
      : await readCredentials(options.credentials);
  const seed = options.seed ?? randomInt(1, 2 ** 31);
  const devices = await plan(scenario, credentials, seed);
  const areNew = options.credentials === undefined;
  if (areNew && devices.some(({ behaviour }) => behaviour.prove === 'psk'))
    await untilKnown((await context.settings()).site);
  const { tlsReference } = options;
  const tls =
    tlsReference === undefined
      ? undefined
      : await measureTls(tlsReference === true ? referenceConnections : tlsReference);
  const gateway = { host, port: options.port ?? (await context.settings()).mqttPort, caPem };
  const place = { host, port: gateway.port, caFile };
  const progress = showProgress(devices.length, (reason) => cureOfReason(reason, place));
  const interruption = untilInterrupted();
  const startedAt = new Date().toISOString();
  const simulated = await simulate({
    ...{ gateway, devices, seed, gatewayUsage, signal: interruption.signal, onProgress: progress.set },
    concurrency: options.concurrency ?? (options.scenario === undefined ? usualConcurrency : devices.length),
    timeoutMs: (options.timeout ?? scenario.timeoutSeconds) * 1000,
    patienceMs: scenario.patienceSeconds * 1000,
    maxPauseMs: scenario.maxPauseSeconds * 1000,
    addresses: isLoopback(host) && host !== '::1' ? scenario.addresses : 1,
    issuerKey: issuerPem === undefined ? undefined : new X509Certificate(issuerPem).publicKey,
    collectGarbage: tls === undefined ? undefined : garbageCollector(),
  });
  progress.end();
  interruption.end();
  const result = fullReport(simulated, {
    ...{
      scenario: scenario.name,
      kinds: kindsText(scenario.site.mix),
      target: `${host}:${gateway.port}`,
      seed,
      startedAt,
    },
    ...{ version: command.parent?.version() ?? '', quotaPerSecond: options.quota, tls, devices: devices.length },
  });
  writeReports(result, options, context.write);
  sayHints(result, place);
  if (result.asExpected !== devices.length) process.exitCode = 1;
  if (interruption.signal.aborted) {
    console.error(`cvm: interrupted when ${result.devices} of ${devices.length} devices had ended`);
    process.exitCode = interruption.status();
  }
}

/** Without a scenario all devices come at once, and are alike. @throws UsageError */
async function chooseScenario({ scenario, site, flow, maxPacket }: Options): Promise<Scenario> {
  const mix = [{ part: 1, ...usualBehaviour, flow, maxPacket }];
  const usual = { patienceSeconds: 120, maxPauseSeconds: 30, timeoutSeconds: 600, addresses: 1 };
  try {
    if (scenario !== undefined) return await loadScenario(scenario, site);
    const own = site === undefined ? { description: '', devices: usualDevices, mix } : await loadSite(site);
    return { ...usual, name: 'none', description: '', arrival: { curve: 'at-once' }, site: own };
  } catch (error) {
    if (error instanceof ScenarioError) throw new UsageError(error.message);
    throw error;
  }
}

/** What each device is and when it comes; keys are made before the run, since they are no load on the gateway. */
async function plan(scenario: Scenario, credentials: readonly Credential[], seed: number): Promise<SimDevice[]> {
  const random = randomOf(seed);
  const behaviours = behavioursOf(scenario.site.mix, credentials.length, random);
  const starts = arrivalTimes(scenario.arrival, credentials.length, random);
  const devices: SimDevice[] = [];
  for (const [index, credential] of credentials.entries()) {
    const acts = behaviours[index] ?? usualBehaviour;
    const own = acts.flow === 'csr' ? { key: await makeDeviceKey(credential.serial) } : {};
    devices.push({ ...credential, ...own, behaviour: acts, startMs: starts[index] ?? 0 });
  }
  return devices;
}

/**
 * A gateway knows the key of a new device when it has heard of it: within some two seconds, or ten where it serves a site and the device has none.
 * Without this pause every first attempt failed, which no gateway would be blamed for whose devices were enrolled a day before.
 * @param site of the gateway
 */
async function untilKnown(site: string | undefined): Promise<void> {
  const seconds = site === undefined ? 4 : 12;
  console.error(
    `cvm: waiting ${seconds} s, until the gateway has heard of the new devices and knows their pre-shared keys`,
  );
  await setTimeout(seconds * 1000);
}

/** What was seen in a long run is kept where one of two files cannot be written: its disk may be full by now. */
function writeReports(result: Report, { json, html }: Options, write: (line: string) => void): void {
  const failures: Error[] = [];
  const trying = (work: () => void, what?: string) => {
    try {
      work();
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      failures.push(
        what === undefined ? (error as Error) : new Error(`${what} cannot be written (${code ?? message})`),
      );
    }
  };
  if (html !== undefined) trying(() => writeFileSync(html, renderPage(result)), html);
  trying(() => write(json ? JSON.stringify(result) : summary(result)));
  for (const failure of failures.slice(1)) console.error(`cvm: ${failure.message}`);
  if (failures[0] !== undefined) throw failures[0];
}

/** What to do about what kept devices from their certificates. Where none was answered, something else than a gateway may be at the port. */
function sayHints(result: Report, place: Place): void {
  const known = hints(result.timedOutReasons, place);
  for (const hint of known) console.error(`cvm: ${hint}`);
  const { devices, accepted, rejected, wrong } = result;
  if (known.length > 0 || devices === 0 || accepted > 0) return;
  if (Object.keys(rejected).length + Object.keys(wrong).length > 0) return;
  console.error(
    `cvm: no device was answered: is a gateway at ${place.host}:${place.port}, and is its worker running? The reasons above say how far the devices came`,
  );
}

const siteCaFile = async ({ settings }: SimContext): Promise<string> =>
  join((await settings()).dataDir, 'tls', 'site-ca.crt');

function newSerials(prefix: string, devices: number): string[] {
  const run = randomBytes(3).toString('hex');
  return Array.from({ length: devices }, (_, index) => `${prefix}-${run}-${index + 1}`);
}

function packetSize(text: string): number {
  const read = behaviour.shape.maxPacket.safeParse(Number(text));
  if (!read.success || read.data === undefined)
    throw new InvalidArgumentError('It must be a number of bytes from 128.');
  return read.data;
}

function watch(processes: readonly number[]) {
  try {
    return watchProcesses(processes);
  } catch (error) {
    throw new UsageError(`--gateway-pid: ${(error as Error).message}`);
  }
}

function pids(text: string): number[] {
  return text.split(',').map((each) => {
    const pid = Number(each);
    if (!Number.isInteger(pid) || pid < 1)
      throw new InvalidArgumentError('It must be process ids, with commas between.');
    return pid;
  });
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

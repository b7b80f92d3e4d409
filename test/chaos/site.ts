import { randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { IoTClient } from '@aws-sdk/client-iot';
import { createApp } from '../../app/app.ts';
import { atRate, connectIssuer, connectTable } from '../../app/aws.ts';
import { setUpAws } from '../../app/aws-setup.ts';
import { connectOperator } from '../../app/operator.ts';
import type { Credential } from '../../gateway-sim/device.ts';
import type { Gateway } from '../../gateway-sim/link.ts';
import { type EnrolSettings, enrol } from '../../operator/enrol.ts';
import { noAudit } from '../../runtime/audit.ts';
import { createLog } from '../../runtime/log.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { ownerTagOf } from '../../worker/ec-key.ts';
import { sweep } from '../../worker/sweep.ts';
import type { Finding } from '../../worker/sweep-findings.ts';
import { approveGateway } from '../support/approve-gateway.ts';
import { accepts, answers, freePort } from '../support/network.ts';
import { createClock } from './clock.ts';
import { createHistory } from './history.ts';
import { createProcesses, type Part, type Processes, run } from './processes.ts';

export type { Part, PartName } from './processes.ts';

const built = join(import.meta.dirname, '../..');
const cvm = join(built, 'cli/cvm.js');
const wallClock = pathToFileURL(join(import.meta.dirname, 'wall-clock.js')).href;
const region = 'us-east-1';

/** A worker sweeps a minute after its start, with two calls a second. Milliseconds. */
const otherSweepMs = 300_000;

/** The IoT policy that a site's devices share. */
export const policyName = 'cvm-device';
const credentials = { accessKeyId: 'local', secretAccessKey: 'local' };

/** What to start instead of `cvm broker` or `cvm worker`, by path below the build folder. */
export type Programs = { readonly broker?: string; readonly worker?: string };

/** One gateway of the table: a Redis, a broker and workers. */
export type GatewayParts = {
  readonly gateway: Gateway;
  readonly redisUrl: string;
  readonly redis: Part;
  readonly broker: Part;
  readonly workers: readonly Part[];
};

/**
 * A whole site of real processes on this machine: Redis on its append-only file, the AWS stand-in on its journal, a
 * broker, and workers. Everything is below one folder, which is deleted at the end. Further gateways have a Redis, a broker
 * and workers of their own, and share the table.
 */
export async function startSite(options: {
  /** of each gateway */
  workers: number;
  gateways?: number;
  quotas?: 'default' | 'off';
  programs?: Programs;
  env?: Record<string, string>;
}) {
  const folder = mkdtempSync(join(tmpdir(), 'cvm-chaos-'));
  const [httpPort, dataPort] = await Promise.all([freePort(), freePort()]);
  const awsUrl = `http://127.0.0.1:${httpPort}`;
  const clock = createClock(join(folder, 'clock'));
  const env: NodeJS.ProcessEnv = {
    PATH: process.env.PATH,
    LOG_LEVEL: 'info',
    AWS_REGION: region,
    AWS_ACCESS_KEY_ID: credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    AWS_ENDPOINT_URL_IOT: awsUrl,
    AWS_ENDPOINT_URL_DYNAMODB: awsUrl,
    CVM_AWS_LOCAL_HTTP_PORT: String(httpPort),
    CVM_AWS_LOCAL_MQTT_PORT: String(dataPort),
    CVM_AWS_LOCAL_QUOTAS: options.quotas ?? 'off',
    CVM_QUOTAS: options.quotas ?? 'off',
    CVM_LISTEN: '127.0.0.1',
    CVM_HOSTNAMES: 'localhost',
    CVM_ROOT_CA: join(folder, 'aws', 'aws-local', 'root-ca.pem'),
    // the run itself starts the sweep at the end
    CVM_SWEEP_INTERVAL: '1d',
    CHAOS_FOLDER: folder,
    // a second gateway starts before anyone approves it
    ...((options.gateways ?? 1) > 1 ? { CVM_NEW_SITE: '1' } : {}),
    ...options.env,
  };
  const processes = createProcesses(folder);
  // ending this program ends every process that it started
  const killAll = () => {
    processes.killAll();
    rmSync(folder, { recursive: true, force: true });
  };
  process.once('exit', killAll);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));

  const history = createHistory(join(folder, 'aws', 'aws-local', 'iot', 'journal.jsonl'));
  const aws = processes.child({
    name: 'aws',
    label: 'aws',
    argv: [cvm, 'aws-local'],
    env,
    ready: () => answers(`${awsUrl}/_local/health`),
    // it compacts its journal when it starts
    beforeStart: history.read,
  });
  const { programs = {}, workers, gateways: howMany = 1 } = options;
  const parts = await Promise.all(
    Array.from({ length: howMany }, (_, index) =>
      gatewayParts({ processes, env, clockFile: clock.file, programs, workers, prefix: prefixOf(index) }),
    ),
  );
  const [first] = parts as [(typeof parts)[number]];

  await Promise.all([aws.start(), ...parts.map(({ redis }) => redis.start())]);
  const settings = loadSettings({
    CVM_DATA_DIR: join(folder, 'operator'),
    CVM_POLICY_NAME: policyName,
    CVM_QUOTAS: 'off',
  });
  const app = createApp({ ...settings, aws: { region, credentials, endpoint: awsUrl } }, createLog('silent'));
  await setUpAws(app.settings);
  const { registry, claims } = connectTable(app, 'operator');
  const iot = new IoTClient(app.settings.aws);
  const sweepIssuer = connectIssuer(app, 'operator', atRate(100));
  // no keys are sealed: these devices do not use TLS-PSK
  const operator = { ...connectOperator(app, noAudit), gateways: async () => [] };

  /** Any command of `cvm`, as an operator would. */
  const command = (argv: readonly string[], more: NodeJS.ProcessEnv = {}) =>
    run([cvm, ...argv], {
      ...env,
      REDIS_URL: first.redisUrl,
      CVM_DATA_DIR: join(folder, 'operator'),
      ...more,
    });

  const gateways: GatewayParts[] = [];
  for (const [index, { port, ...rest }] of parts.entries()) {
    await Promise.all([rest.broker, ...rest.workers].map((part) => part.start()));
    const dataDir = join(folder, `${prefixOf(index)}broker`);
    const caPem = readFileSync(join(dataDir, 'tls', 'site-ca.crt'), 'utf8');
    gateways.push({ ...rest, gateway: { host: 'localhost', port, caPem } });
    // the first one is trusted soon, by itself; a second one must come after that
    if (parts.length > 1) await approveGateway({ command, dataDir });
  }
  const everyPart = [aws, ...gateways.flatMap(({ redis, broker, workers }) => [redis, broker, ...workers])];

  return {
    folder,
    env,
    awsUrl,
    dataPort,
    redisUrl: first.redisUrl,
    iot,
    registry,
    claims,
    operator,
    clock,
    history,
    gateways,
    gateway: gateways[0]?.gateway as Gateway,
    parts: everyPart,
    redis: first.redis,
    aws,
    broker: first.broker,
    workers: first.workers,
    async enrol(serials: readonly string[], settings: EnrolSettings = {}): Promise<Credential[]> {
      const { outcomes } = await enrol(
        serials.map((serial) => ({ serial, ...settings })),
        operator,
        { concurrency: 25 },
      );
      return outcomes.map((device) => {
        if (device.outcome !== 'enrolled') throw new Error(`${device.serial} was not enrolled: ${device.outcome}`);
        return { serial: device.serial, token: device.token };
      });
    },
    /** Faults are kept in memory, so a restarted stand-in has none. */
    async dial(rules: readonly object[]): Promise<void> {
      await fetch(`${awsUrl}/_local/faults`, {
        method: 'PUT',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify(rules),
      }).catch(() => {});
    },
    /** Calls by operation since the stand-in started, and faults that struck; empty while it is away. */
    async counts(): Promise<{ calls: Record<string, { calls: number }>; struck: Record<string, number> }> {
      const [calls, struck] = await Promise.all(
        ['stats', 'struck'].map((name) =>
          fetch(`${awsUrl}/_local/${name}`)
            .then((answer) => answer.json())
            .catch(() => ({})),
        ),
      );
      return { calls, struck } as { calls: Record<string, { calls: number }>; struck: Record<string, number> };
    },
    command,
    /** `cvm sweep`, as an operator would, who waits for the sweep of a worker to end. @returns what it printed as JSON */
    async sweep(argv: readonly string[]): ReturnType<typeof command> {
      const until = performance.now() + otherSweepMs;
      for (;;) {
        const swept = await command(['sweep', '--json', ...argv]);
        if (!swept.stderr.includes('another sweep is running') || performance.now() > until) return swept;
        await sleep(5000);
      }
    },
    /** A sweep as it will be so many milliseconds from now, since a sweep leaves alone what is young. @returns its findings */
    async sweepLater(aheadMs: number): Promise<Finding[]> {
      const found: Finding[] = [];
      const { table, replayWindowMs } = app.settings;
      await sweep({
        registry,
        claims,
        issuer: sweepIssuer,
        ownerTag: ownerTagOf(table),
        table,
        graceMs: 60_000,
        replayWindowMs,
        dryRun: false,
        now: () => Date.now() + aheadMs,
        report: (finding) => found.push(finding),
      });
      return found;
    },
    async close(): Promise<void> {
      for (const part of [...everyPart].reverse()) await part.kill();
      process.off('exit', killAll);
      await app.lifecycle.close();
      iot.destroy();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export type Site = Awaited<ReturnType<typeof startSite>>;

/** Of the labels of a gateway's parts; the first gateway's have none. */
const prefixOf = (index: number): string => (index === 0 ? '' : `gateway-${index + 1}-`);

/** The parts of one gateway, none of them started. */
async function gatewayParts(options: {
  processes: Processes;
  env: NodeJS.ProcessEnv;
  clockFile: string;
  programs: Programs;
  workers: number;
  prefix: string;
}) {
  const { processes, clockFile, programs, prefix } = options;
  const [redisPort, port] = await Promise.all([freePort(), freePort()]);
  const password = randomBytes(16).toString('hex');
  const redisUrl = `redis://:${password}@127.0.0.1:${redisPort}/0`;
  // the clock of a gateway's machine; that of AWS is right
  const env = { ...options.env, REDIS_URL: redisUrl, CVM_MQTT_PORT: String(port), CHAOS_CLOCK_FILE: clockFile };
  const program = (other: string | undefined, usual: 'broker' | 'worker') => [
    ...['--import', wallClock],
    ...(other === undefined ? [cvm, usual] : [join(built, other)]),
  ];
  return {
    port,
    redisUrl,
    redis: processes.redis({ label: `${prefix}redis`, port: redisPort, password }),
    broker: processes.child({
      name: 'broker',
      label: `${prefix}broker`,
      argv: program(programs.broker, 'broker'),
      env,
      ready: () => accepts(port),
    }),
    workers: Array.from({ length: options.workers }, (_, index) =>
      processes.child({
        name: 'worker',
        label: `${prefix}worker-${index + 1}`,
        argv: program(programs.worker, 'worker'),
        env,
        ready: async () => true,
      }),
    ),
  };
}

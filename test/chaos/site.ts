import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { createWriteStream, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { IoTClient } from '@aws-sdk/client-iot';
import { createApp } from '../../app/app.ts';
import { connectTable, setUpAws } from '../../app/aws.ts';
import { connectOperator } from '../../app/operator.ts';
import type { Credential, Gateway } from '../../gateway-sim/device.ts';
import { enrol } from '../../operator/enrol.ts';
import { noAudit } from '../../runtime/audit.ts';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../runtime/embedded-redis.ts';
import { createLog } from '../../runtime/log.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { accepts, answers, freePort, until } from '../support/network.ts';

const built = join(import.meta.dirname, '../..');
const cvm = join(built, 'cli/cvm.js');
const region = 'us-east-1';

/** The IoT policy that a site's devices share. */
export const policyName = 'cvm-device';
const credentials = { accessKeyId: 'local', secretAccessKey: 'local' };

export type PartName = 'redis' | 'aws' | 'broker' | 'worker';

/** One process of a site. It can be killed as by a power cut, and started again on its data. */
export type Part = {
  readonly name: PartName;
  isRunning(): boolean;
  /** of the process, while it runs */
  pid(): number | undefined;
  kill(): Promise<void>;
  start(): Promise<void>;
};

/** What to start instead of `cvm broker` or `cvm worker`, by path below the build folder. */
export type Programs = { readonly broker?: string; readonly worker?: string };

/**
 * A whole site of real processes on this machine: Redis on its append-only file, the AWS stand-in on its journal, a
 * broker, and workers. Everything is below one folder, which is deleted at the end.
 */
export async function startSite(options: {
  workers: number;
  quotas?: 'default' | 'off';
  programs?: Programs;
  env?: Record<string, string>;
}) {
  const folder = mkdtempSync(join(tmpdir(), 'cvm-chaos-'));
  const [redisPort, httpPort, dataPort, brokerPort] = await Promise.all([
    freePort(),
    freePort(),
    freePort(),
    freePort(),
  ]);
  const redisPassword = randomBytes(16).toString('hex');
  const awsUrl = `http://127.0.0.1:${httpPort}`;
  const env: NodeJS.ProcessEnv = {
    PATH: process.env.PATH,
    LOG_LEVEL: 'info',
    REDIS_URL: `redis://:${redisPassword}@127.0.0.1:${redisPort}/0`,
    AWS_REGION: region,
    AWS_ACCESS_KEY_ID: credentials.accessKeyId,
    AWS_SECRET_ACCESS_KEY: credentials.secretAccessKey,
    AWS_ENDPOINT_URL_IOT: awsUrl,
    AWS_ENDPOINT_URL_DYNAMODB: awsUrl,
    CVM_AWS_LOCAL_HTTP_PORT: String(httpPort),
    CVM_AWS_LOCAL_MQTT_PORT: String(dataPort),
    CVM_AWS_LOCAL_QUOTAS: options.quotas ?? 'off',
    CVM_MQTT_PORT: String(brokerPort),
    CVM_LISTEN: '127.0.0.1',
    CVM_HOSTNAMES: 'localhost',
    CVM_ROOT_CA: join(folder, 'aws', 'aws-local', 'root-ca.pem'),
    // the run itself starts the sweep at the end
    CVM_SWEEP_INTERVAL: '1d',
    CHAOS_FOLDER: folder,
    ...options.env,
  };
  const pids = new Set<number>();
  const said = (name: string) => createWriteStream(join(folder, `${name}.log`), { flags: 'a' });

  const child = (name: PartName, label: string, argv: string[], ready: () => Promise<boolean>): Part => {
    let running: ChildProcess | undefined;
    const log = said(label);
    const dataDir = join(folder, label);
    mkdirSync(dataDir, { recursive: true });
    return {
      name,
      async start() {
        const process_ = spawn(process.execPath, argv, {
          env: { ...env, CVM_DATA_DIR: dataDir },
          stdio: ['ignore', 'pipe', 'pipe'],
        });
        process_.stdout.pipe(log, { end: false });
        process_.stderr.pipe(log, { end: false });
        running = process_;
        pids.add(process_.pid ?? 0);
        process_.once('exit', () => pids.delete(process_.pid ?? 0));
        const ended = () => process_.exitCode !== null;
        await until(async () => ended() || (await ready()), 60_000, `${label} is up`);
        if (ended())
          throw new Error(
            `${label} ended by itself: ${readFileSync(join(folder, `${label}.log`), 'utf8').slice(-2000)}`,
          );
      },
      pid: () => running?.pid,
      isRunning: () => running !== undefined && running.exitCode === null && running.signalCode === null,
      async kill() {
        const dying = running;
        running = undefined;
        if (dying === undefined || dying.exitCode !== null || dying.signalCode !== null) return;
        const gone = new Promise((resolve) => dying.once('exit', resolve));
        dying.kill('SIGKILL');
        await gone;
      },
    };
  };

  // ending this program ends every process that it started
  const killAll = () => {
    for (const pid of pids) if (isAlive(pid)) process.kill(pid, 'SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  };
  process.once('exit', killAll);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));

  const quiet = createLog('silent');
  let embedded: EmbeddedRedis | undefined;
  const redis: Part = {
    name: 'redis',
    async start() {
      embedded = await startEmbeddedRedis({
        dataDir: join(folder, 'redis'),
        log: quiet,
        port: redisPort,
        password: redisPassword,
      });
      pids.add(embedded.pid);
    },
    pid: () => embedded?.pid,
    isRunning: () => embedded !== undefined && isAlive(embedded.pid),
    async kill() {
      const dying = embedded;
      embedded = undefined;
      if (dying === undefined) return;
      await dying.kill();
      pids.delete(dying.pid);
    },
  };
  const { programs = {} } = options;
  const aws = child('aws', 'aws', [cvm, 'aws-local'], () => answers(`${awsUrl}/_local/health`));
  const broker = child(
    'broker',
    'broker',
    programs.broker === undefined ? [cvm, 'broker'] : [join(built, programs.broker)],
    () => accepts(brokerPort),
  );
  const workers = Array.from({ length: options.workers }, (_, index) =>
    child(
      'worker',
      `worker-${index + 1}`,
      programs.worker === undefined ? [cvm, 'worker'] : [join(built, programs.worker)],
      async () => true,
    ),
  );
  const parts = [redis, aws, broker, ...workers];

  await Promise.all([redis.start(), aws.start()]);
  const settings = loadSettings({ CVM_DATA_DIR: join(folder, 'operator'), CVM_POLICY_NAME: policyName });
  const app = createApp({ ...settings, aws: { region, credentials, endpoint: awsUrl } }, quiet);
  await setUpAws(app.settings);
  const { registry } = connectTable(app, 'operator');
  const iot = new IoTClient(app.settings.aws);
  // no keys are sealed: these devices do not use TLS-PSK
  const operator = { ...connectOperator(app, noAudit), gateways: async () => [] };
  await Promise.all([broker.start(), ...workers.map((worker) => worker.start())]);
  const gateway: Gateway = {
    host: 'localhost',
    port: brokerPort,
    caPem: readFileSync(join(folder, 'broker', 'tls', 'site-ca.crt'), 'utf8'),
  };

  return {
    folder,
    env,
    awsUrl,
    dataPort,
    redisUrl: env.REDIS_URL ?? '',
    iot,
    registry,
    operator,
    gateway,
    parts,
    redis,
    aws,
    broker,
    workers,
    async enrol(serials: readonly string[]): Promise<Credential[]> {
      const { outcomes } = await enrol(
        serials.map((serial) => ({ serial })),
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
    /** `cvm sweep`, as an operator would. @returns what it printed as JSON */
    sweep: (argv: readonly string[]) =>
      run([cvm, 'sweep', '--json', ...argv], { ...env, CVM_DATA_DIR: join(folder, 'operator') }),
    async close(): Promise<void> {
      for (const part of [...parts].reverse()) await part.kill();
      process.off('exit', killAll);
      await app.lifecycle.close();
      iot.destroy();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

export type Site = Awaited<ReturnType<typeof startSite>>;

async function run(
  argv: string[],
  env: NodeJS.ProcessEnv,
): Promise<{ status: number | null; stdout: string; stderr: string }> {
  const process_ = spawn(process.execPath, argv, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  process_.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  process_.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const status = await new Promise<number | null>((resolve) => process_.once('close', resolve));
  return { status, stdout, stderr };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // a dead child that was not waited for still accepts signals
    return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
  } catch {
    return false;
  }
}

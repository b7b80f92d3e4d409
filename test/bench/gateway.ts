import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { accepts, answers, freePort } from '../support/network.ts';
import { cpuMs, type Running, run, start } from './processes.ts';

export type Flow = 'csr' | 'ec' | 'rsa';

/** CPU time in milliseconds. */
export type Cpu = Readonly<Record<'broker' | 'worker' | 'redis', number>>;

/** The workload of one round, by phase. */
export type Round = { readonly enrol: Cpu; readonly vend: Cpu };

export type BenchGateway = {
  readonly broker: { readonly pid: number; readonly port: number };
  /** of the broker: its certificate and key are in `tls/` */
  readonly brokerFolder: string;
  /** @returns the tokens of fresh devices, by serial, when the broker knows them */
  enrol(serials: readonly string[]): Promise<ReadonlyMap<string, string>>;
  /** Enrols fresh devices, then lets the simulator ask for their certificates. */
  round(devices: number, flow: Flow): Promise<Round>;
  close(): Promise<void>;
};

const commandMs = 600_000;

/** The worker looks every 2 s for devices that were enrolled: a shorter silence does not mean that it is done. */
const quiet = { windowMs: 3000, cpuMs: 60, forMs: 120_000 };

const profiler = join(import.meta.dirname, 'profiler.js');

/** @returns where the command-line program of a built checkout is */
export const cvmOf = (checkout: string): string => join(checkout, 'dist', 'cli', 'cvm.js');

/**
 * Starts one checkout's gateway: its own Redis, stand-in, broker and worker, on free ports of 127.0.0.1 and with data
 * below one folder, which `close` deletes.
 * @param simulator the program whose `sim` plays the devices: the same for all gateways, so that only they differ
 * @param profiles a folder for the CPU profiles of broker and worker in the last round, which cost CPU themselves
 * @param brokerFlags of Node.js, for the broker alone
 */
export async function startGateway(
  checkout: string,
  simulator: string,
  profiles?: string,
  brokerFlags: readonly string[] = [],
): Promise<BenchGateway> {
  const cvm = cvmOf(checkout);
  const folder = mkdtempSync(join(tmpdir(), 'cvm-bench-'));
  const removeFolder = () => rmSync(folder, { recursive: true, force: true });
  process.once('exit', removeFolder);
  const ports = { redis: await freePort(), http: await freePort(), data: await freePort(), broker: await freePort() };
  const common = {
    ...environment(folder, ports),
    ...withoutQuotas(checkout),
    ...(profiles === undefined ? {} : { BENCH_PROFILES: profiles }),
  };
  const node = (program: string, dataFolder: string, argv: readonly string[]) => ({
    command: process.execPath,
    argv: [program, ...argv],
    env: { ...common, CVM_DATA_DIR: join(folder, dataFolder) },
  });
  const operator = (...argv: string[]) => run(node(cvm, 'operator', argv), commandMs);

  const started: Running[] = [];
  const add = async (starting: Promise<Running>) => {
    const running = await starting;
    started.push(running);
    return running;
  };
  const part = (name: string, ready: () => Promise<boolean>, flags: readonly string[] = []) => {
    const program = node(cvm, name, [name]);
    const profile = profiles === undefined ? [] : ['--import', profiler];
    const argv = [...flags, ...profile, ...program.argv];
    return add(start({ ...program, argv }, join(folder, `${name}.log`), ready));
  };
  const close = async () => {
    for (const running of [...started].reverse()) await running.stop();
    process.off('exit', removeFolder);
    removeFolder();
  };
  try {
    const redis = await add(startRedis(folder, ports.redis));
    await part('aws-local', () => answers(`http://127.0.0.1:${ports.http}/_local/health`));
    await operator('aws', 'setup');
    // first: a broker that is new waits for what the worker says of the table
    const worker = await part('worker', () => Promise.resolve(true));
    const broker = await part('broker', () => accepts(ports.broker), brokerFlags);
    const cpu = async (): Promise<Cpu> => ({
      broker: await cpuMs(broker.pid),
      worker: await cpuMs(worker.pid),
      redis: await cpuMs(redis.pid),
    });
    await untilQuiet(cpu);

    const importFile = async (serials: string, lines: string): Promise<string> => {
      const credentials = `${serials}.tokens`;
      writeFileSync(serials, lines);
      await operator('devices', 'import', serials, '--out', credentials);
      await untilQuiet(cpu);
      return credentials;
    };
    const enrol = async (serials: readonly string[]) => {
      const credentials = await importFile(join(folder, 'enrolled.csv'), csvOf(serials));
      const rows = readFileSync(credentials, 'utf8').trim().split('\n').slice(1);
      return new Map(rows.map((row) => row.split(',') as [string, string]));
    };
    const toggleProfile = () => {
      if (profiles !== undefined) for (const { pid } of [broker, worker]) process.kill(pid, 'SIGUSR2');
    };

    let rounds = 0;
    const round = async (devices: number, flow: Flow): Promise<Round> => {
      const serials = join(folder, `round-${++rounds}.csv`);
      let credentials = '';
      const enrol = await spent(cpu, async () => {
        credentials = await importFile(serials, csvOf(serialsOf(rounds, devices)));
      });
      const ca = join(folder, 'broker', 'tls', 'site-ca.crt');
      const target = ['--port', String(ports.broker), '--ca', ca, '--credentials', credentials];
      // the simulator ends with status 1 when a device gets no certificate, which `run` makes an error
      const vend = await spent(cpu, async () => {
        toggleProfile();
        await run(node(simulator, 'simulator', ['sim', ...target, '--flow', flow, '--json']), commandMs);
        toggleProfile();
        await untilQuiet(cpu);
      });
      return { enrol, vend };
    };
    return {
      broker: { pid: broker.pid, port: ports.broker },
      brokerFolder: join(folder, 'broker'),
      enrol,
      round,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

/** A gateway that keeps to the account's quotas is told that there are none; an earlier one takes the setting for a mistake. */
function withoutQuotas(checkout: string): NodeJS.ProcessEnv {
  const known = readFileSync(join(checkout, '.env.example'), 'utf8').includes('CVM_QUOTAS=');
  return known ? { CVM_QUOTAS: 'off' } : {};
}

type Ports = Readonly<Record<'redis' | 'http' | 'data' | 'broker', number>>;

/** All that the programs read, but for the data folder, of which each has its own. Nothing of ours is inherited. */
function environment(folder: string, ports: Ports): NodeJS.ProcessEnv {
  const awsUrl = `http://127.0.0.1:${ports.http}`;
  return {
    PATH: process.env.PATH,
    AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true',
    REDIS_URL: `redis://127.0.0.1:${ports.redis}/0`,
    AWS_REGION: 'us-east-1',
    AWS_ACCESS_KEY_ID: 'local',
    AWS_SECRET_ACCESS_KEY: 'local',
    AWS_ENDPOINT_URL_IOT: awsUrl,
    AWS_ENDPOINT_URL_DYNAMODB: awsUrl,
    CVM_AWS_LOCAL_HTTP_PORT: String(ports.http),
    CVM_AWS_LOCAL_MQTT_PORT: String(ports.data),
    CVM_AWS_LOCAL_QUOTAS: 'off',
    CVM_MQTT_PORT: String(ports.broker),
    CVM_LISTEN: '127.0.0.1',
    CVM_HOSTNAMES: 'localhost',
    CVM_ROOT_CA: join(folder, 'aws-local', 'aws-local', 'root-ca.pem'),
    CVM_SWEEP_INTERVAL: '1d',
  };
}

/** Redis as the product's own: a PUBACK promises that a request is on disk. */
function startRedis(folder: string, port: number): Promise<Running> {
  const dir = join(folder, 'redis');
  mkdirSync(dir);
  const settings = `--bind 127.0.0.1 --port ${port} --appendonly yes --appendfsync always --maxmemory-policy noeviction --hash-max-ziplist-value 2048`;
  const argv = [...settings.split(' '), '--save', '', '--dir', dir];
  return start({ command: 'redis-server', argv, env: { PATH: process.env.PATH } }, join(folder, 'redis.log'), () =>
    accepts(port),
  );
}

const serialsOf = (round: number, devices: number): string[] =>
  Array.from({ length: devices }, (_, index) => `bench-${round}-${index + 1}`);

const csvOf = (serials: readonly string[]): string => `${['serial', ...serials].join('\n')}\n`;

async function spent(cpu: () => Promise<Cpu>, work: () => Promise<void>): Promise<Cpu> {
  const before = await cpu();
  await work();
  const after = await cpu();
  return {
    broker: after.broker - before.broker,
    worker: after.worker - before.worker,
    redis: after.redis - before.redis,
  };
}

/** Waits until broker and worker have nothing to do but what an idle gateway does. */
async function untilQuiet(cpu: () => Promise<Cpu>): Promise<void> {
  for (const deadline = Date.now() + quiet.forMs; Date.now() < deadline; ) {
    const { broker, worker } = await spent(cpu, () => sleep(quiet.windowMs));
    if (broker + worker <= quiet.cpuMs) return;
  }
  throw new Error(`broker and worker were still busy after ${quiet.forMs} ms`);
}

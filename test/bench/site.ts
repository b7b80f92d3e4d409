import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { approveGateway } from '../support/approve-gateway.ts';
import { accepts, answers, freePort, until } from '../support/network.ts';
import { type Running, run, start } from './processes.ts';

/** Milliseconds for one command of an operator, or one run of the simulator. */
const commandMs = 1_800_000;
/** A key pair costs up to 100 ms, one after the other. */
const keyPoolMs = 300_000;

/** How often each operation was called since the stand-in started, and how often that was throttled. */
export type AwsCalls = Readonly<Record<string, { readonly calls: number; readonly throttled: number }>>;

/** One AWS account: the stand-in in a process of its own, so that its cost is not taken for the gateway's. */
export type AwsAccount = {
  readonly folder: string;
  readonly env: NodeJS.ProcessEnv;
  calls(): Promise<AwsCalls>;
  /** Every call takes so much longer from now on, in milliseconds. */
  setLatency(ms: number): Promise<void>;
};

/** The processes of one gateway, on free ports of 127.0.0.1. */
export type Gateway = {
  readonly port: number;
  readonly caFile: string;
  readonly redisPort: number;
  readonly broker: Running;
  readonly worker: Running;
  readonly redis: Running;
  /** Enrols devices, and returns the file with their tokens. */
  enrol(devices: number): Promise<string>;
  /** Lets the simulator play devices. @returns its report */
  simulate(argv: readonly string[]): Promise<SimReport>;
  /** Runs `cvm` beside it. @returns its standard output */
  cvm(...argv: string[]): Promise<string>;
  close(): Promise<void>;
};

export type Console = { readonly port: number; readonly caPem: string; readonly process: Running };

/** What a row takes from the simulator's `--json`. */
export type SimReport = {
  readonly devices: number;
  readonly accepted: number;
  readonly rejected: Readonly<Record<string, number>>;
  readonly timedOut: number;
  readonly attempts: number;
  readonly latencyMs?: { readonly p50: number; readonly p95: number; readonly p99: number; readonly max: number };
  readonly latencyHistogram?: readonly { readonly fromMs: number; readonly count: number }[];
  readonly firstTry?: { readonly connected: number; readonly served: number };
  readonly pending?: { readonly told: number; readonly medianError?: number };
  readonly simulator?: SimulatorCost;
  readonly wallMs: number;
};

type SimulatorCost = {
  readonly cpuMs: number;
  readonly openAtPeak: number;
  readonly perDevice: { readonly cpuMs: number; readonly rssBytes: number };
  readonly tls?: { readonly cpuMs: number; readonly rssBytes: number };
  readonly beyondTls?: { readonly cpuMs: number; readonly rssBytes: number };
};

/** What the command line of a broker has besides: flags of Node.js before the program, and arguments of `cvm broker`. */
type BrokerStart = { readonly flags?: readonly string[]; readonly brokerArguments?: readonly string[] };

export type Sites = {
  startAws(options: { quotas: string; keyPool?: number }): Promise<AwsAccount>;
  startGateway(aws: AwsAccount, env?: NodeJS.ProcessEnv, broker?: BrokerStart): Promise<Gateway>;
  /** `cvm console` beside a Redis. @param env REDIS_URL and more */
  startConsole(aws: AwsAccount, dataFolder: string, env: NodeJS.ProcessEnv): Promise<Console>;
  /** a folder that `close` deletes */
  folder(name: string): string;
  close(): Promise<void>;
};

/** @returns what starts sites; all that it started is stopped, and its data deleted, by `close` */
export function openSites(checkout: string): Sites {
  const cvm = join(checkout, 'dist', 'cli', 'cvm.js');
  const root = mkdtempSync(join(tmpdir(), 'cvm-bench-'));
  const removeRoot = () => rmSync(root, { recursive: true, force: true });
  process.once('exit', removeRoot);
  const started: Running[] = [];
  let count = 0;
  let gateways = 0;

  async function add(starting: Promise<Running>): Promise<Running> {
    const running = await starting;
    started.push(running);
    return running;
  }

  function folder(name: string): string {
    const made = join(root, `${name}-${++count}`);
    mkdirSync(made);
    return made;
  }

  const part = (
    name: string,
    env: NodeJS.ProcessEnv,
    dataFolder: string,
    ready: () => Promise<boolean>,
    { flags = [], brokerArguments = [] }: BrokerStart = {},
  ) =>
    add(
      start(
        {
          command: process.execPath,
          argv: [...flags, cvm, name, ...brokerArguments],
          env: { ...env, CVM_DATA_DIR: dataFolder },
        },
        join(dataFolder, '..', `${name}.log`),
        ready,
      ),
    );

  return {
    folder,
    async startAws({ quotas, keyPool = 0 }) {
      const own = folder('aws');
      const [http, data] = [await freePort(), await freePort()];
      const url = `http://127.0.0.1:${http}`;
      const env = {
        ...awsEnvironment(url),
        CVM_AWS_LOCAL_HTTP_PORT: String(http),
        CVM_AWS_LOCAL_MQTT_PORT: String(data),
        CVM_AWS_LOCAL_QUOTAS: quotas,
        CVM_AWS_LOCAL_KEY_POOL: String(keyPool),
      };
      const dataFolder = join(own, 'data');
      await part('aws-local', { ...env, CVM_LISTEN: '127.0.0.1' }, dataFolder, () => answers(`${url}/_local/health`));
      await until(() => keyPairsMade(url, keyPool), keyPoolMs, `${keyPool} key pairs of the stand-in`);
      const forOthers = {
        ...awsEnvironment(url),
        CVM_QUOTAS: quotas,
        CVM_ROOT_CA: join(dataFolder, 'aws-local', 'root-ca.pem'),
      };
      const setUp = { ...forOthers, CVM_DATA_DIR: join(own, 'operator') };
      await run({ command: process.execPath, argv: [cvm, 'aws', 'setup'], env: setUp }, commandMs);
      return {
        folder: own,
        env: forOthers,
        calls: async () => (await (await fetch(`${url}/_local/stats`)).json()) as AwsCalls,
        async setLatency(ms) {
          const rules = ms === 0 ? [] : [{ operation: '*', kind: 'latency', ms }];
          await fetch(`${url}/_local/faults`, { method: 'PUT', body: JSON.stringify(rules) });
        },
      };
    },
    async startConsole(aws, dataFolder, extra) {
      const port = await freePort();
      const env = { ...aws.env, CVM_CONSOLE_PORT: String(port), CVM_LISTEN: '127.0.0.1', ...extra };
      const process = await part('console', env, dataFolder, () => accepts(port));
      return { port, caPem: readFileSync(join(dataFolder, 'tls', 'site-ca.crt'), 'utf8'), process };
    },
    async startGateway(aws, extra = {}, brokerStart = {}) {
      const own = folder('gateway');
      const [port, redisPort] = [await freePort(), await freePort()];
      const env: NodeJS.ProcessEnv = {
        ...aws.env,
        REDIS_URL: `redis://127.0.0.1:${redisPort}/0`,
        CVM_MQTT_PORT: String(port),
        CVM_LISTEN: '127.0.0.1',
        CVM_HOSTNAMES: 'localhost',
        CVM_SWEEP_INTERVAL: '1d',
        CVM_NEW_SITE: '1',
        ...extra,
      };
      const operator = { ...env, CVM_DATA_DIR: join(own, 'operator') };
      const command = (argv: readonly string[]) =>
        run({ command: process.execPath, argv: [cvm, ...argv], env: operator }, commandMs);
      const redis = await add(startRedis(own, redisPort));
      // first: a new gateway opens its port when a worker has asked the table about it
      const worker = await part('worker', env, join(own, 'worker'), () => Promise.resolve(true));
      const broker = await part('broker', env, join(own, 'broker'), () => accepts(port), brokerStart);
      await approveGateway({
        dataDir: join(own, 'broker'),
        command: async (argv, more = {}) => ({
          stdout: await run(
            { command: process.execPath, argv: [cvm, ...argv], env: { ...operator, ...more } },
            commandMs,
          ),
        }),
      });
      const caFile = join(own, 'broker', 'tls', 'site-ca.crt');
      let rounds = 0;
      const number = ++gateways;
      return {
        port,
        caFile,
        redisPort,
        broker,
        worker,
        redis,
        cvm: (...argv) => command(argv),
        async enrol(devices) {
          const file = join(own, `serials-${++rounds}.csv`);
          writeFileSync(file, serialsOf(`bench-${number}-${rounds}`, devices));
          await command(['devices', 'import', file, '--out', `${file}.tokens`]);
          return `${file}.tokens`;
        },
        async simulate(argv) {
          const sim = [cvm, 'sim', '--port', String(port), '--ca', caFile, ...argv, '--json'];
          // status 1: a device has no certificate, which is a figure
          const out = await run({ command: process.execPath, argv: sim, env: operator }, commandMs, [0, 1]);
          return JSON.parse(out) as SimReport;
        },
        async close() {
          for (const each of [worker, broker, redis]) {
            await each.stop();
            started.splice(started.indexOf(each), 1);
          }
        },
      };
    },
    async close() {
      for (const running of started.splice(0).reverse()) await running.stop();
      process.off('exit', removeRoot);
      removeRoot();
    },
  };
}

/** Whether the stand-in answers and has made its key pairs: AWS makes them elsewhere, so no measurement pays for them. */
async function keyPairsMade(url: string, wanted: number): Promise<boolean> {
  const { keyPairs } = (await (await fetch(`${url}/_local/health`)).json()) as { keyPairs: number };
  return keyPairs >= wanted;
}

/** All that the programs read of the account. Nothing of ours is inherited. */
function awsEnvironment(url: string): NodeJS.ProcessEnv {
  return {
    PATH: process.env.PATH,
    AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED: 'true',
    AWS_REGION: 'us-east-1',
    AWS_ACCESS_KEY_ID: 'local',
    AWS_SECRET_ACCESS_KEY: 'local',
    AWS_ENDPOINT_URL_IOT: url,
    AWS_ENDPOINT_URL_DYNAMODB: url,
  };
}

/** Redis as the product's own: a PUBACK promises that a request is on disk. */
export function startRedis(folder: string, port: number): Promise<Running> {
  const dir = join(folder, 'redis');
  mkdirSync(dir, { recursive: true });
  const settings = `--bind 127.0.0.1 --port ${port} --appendonly yes --appendfsync always --maxmemory-policy noeviction --hash-max-ziplist-value 2048`;
  const argv = [...settings.split(' '), '--save', '', '--dir', dir];
  return start({ command: 'redis-server', argv, env: { PATH: process.env.PATH } }, join(folder, 'redis.log'), () =>
    accepts(port),
  );
}

export function serialsOf(prefix: string, devices: number): string {
  const serials = Array.from({ length: devices }, (_, index) => `${prefix}-${index + 1}`);
  return `${['serial', ...serials].join('\n')}\n`;
}

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { readdirSync, readlinkSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';
import { promisify } from 'node:util';

/** The built program. */
export const cvm = join(import.meta.dirname, '../../dist/cli/cvm.js');

/** A run of the built program. */
export type Run = {
  readonly child: ChildProcess;
  /** both streams */
  text(): string;
  /** Resolves with the match when the output has this. */
  says(pattern: RegExp): Promise<RegExpExecArray>;
  /** how it ended */
  readonly ended: Promise<{ readonly status: number | null; readonly signal: NodeJS.Signals | null }>;
};

/** Settings with which nothing outside of a folder and no fixed port is used. */
export const isolated = (dataDir: string): Record<string, string> => ({
  PATH: process.env.PATH ?? '',
  HOME: dataDir,
  AWS_EC2_METADATA_DISABLED: 'true',
  CVM_DATA_DIR: dataDir,
  CVM_LISTEN: '127.0.0.1',
  CVM_BROKER_METRICS_PORT: 'off',
  CVM_MQTT_PORT: '0',
  CVM_WORKER_METRICS_PORT: 'off',
  CVM_CONSOLE_PORT: '0',
  CVM_AWS_LOCAL_HTTP_PORT: '0',
  CVM_AWS_LOCAL_MQTT_PORT: '0',
});

/** What a program needs to use this stand-in as its AWS. */
export const onStandIn = ({ httpUrl, rootCaFile }: { readonly httpUrl: string; readonly rootCaFile: string }) => ({
  AWS_REGION: 'us-east-1',
  AWS_ACCESS_KEY_ID: 'test',
  AWS_SECRET_ACCESS_KEY: 'test',
  AWS_ENDPOINT_URL_IOT: httpUrl,
  AWS_ENDPOINT_URL_DYNAMODB: httpUrl,
  CVM_ROOT_CA: rootCaFile,
});

/** `program`: another release in place of the built one. `cwd`: the folder with the `.env` of the run. */
type Start = { readonly program?: string; readonly cwd?: string };

export function runCvm(argv: readonly string[], env: Record<string, string>, { program = cvm, cwd }: Start = {}): Run {
  const child = spawn(process.execPath, [program, ...argv], { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  const listeners = new Set<() => void>();
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      for (const listener of listeners) listener();
    });
  const ended = new Promise<{ status: number | null; signal: NodeJS.Signals | null }>((resolve) =>
    child.once('close', (status, signal) => resolve({ status, signal })),
  );
  return {
    child,
    text: () => text,
    ended,
    says: (pattern) =>
      new Promise((resolve, reject) => {
        const look = () => {
          const found = pattern.exec(text);
          if (found !== null) resolve(found);
        };
        listeners.add(look);
        look();
        void ended.then(() => reject(new Error(`it ended without saying ${pattern}:\n${text}`)));
      }),
  };
}

/** The records of a log in JSON. Its last line may not have come wholly, and is left out as long as it has no end. */
export const recordsIn = <Record>(log: string): Record[] =>
  log
    .split('\n')
    .slice(0, -1)
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line));

/** The runs of one test: `end` ends those that `start` began and that still go on. */
export function programRuns() {
  const runs: Run[] = [];
  return {
    start(argv: readonly string[], env: Record<string, string>, options: Start = {}): Run {
      const run = runCvm(argv, env, options);
      runs.push(run);
      return run;
    },
    async end(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
      for (const { child, ended } of runs.splice(0)) {
        child.kill(signal);
        await ended;
      }
    },
  };
}

/** The port of devices, once the broker of a run listens. */
export const devicePortOf = async (run: Run): Promise<number> =>
  Number((await run.says(/"port":(\d+).*broker is listening/))[1]);

/** Enrols devices as an operator does. @returns the token of each serial */
export async function enrolDevices(
  serials: readonly string[],
  env: Record<string, string>,
  { program = cvm, cwd }: Start = {},
): Promise<(serial: string) => string> {
  const argv = [program, 'devices', 'add', ...serials, '--json'];
  const { stdout } = await promisify(execFile)(process.execPath, argv, { cwd, env });
  const lines = stdout.trim().split('\n');
  const devices = lines.map((line) => JSON.parse(line) as { serial: string; token: string });
  return (serial) => devices.find((device) => device.serial === serial)?.token ?? '';
}

/** Processes whose working folder is this one: an embedded Redis, say. */
export function processesIn(folder: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readlinkSync(`/proc/${pid}/cwd`) === folder;
      } catch {
        return false;
      }
    })
    .map(Number);
}

/** A server that takes every connection, and answers nothing. */
export async function silentServer() {
  const sockets = new Set<{ destroy(): void }>();
  const server = createServer((socket) => {
    sockets.add(socket.on('error', () => {}).resume());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    connections: () => sockets.size,
    close() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

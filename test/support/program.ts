import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readlinkSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { join } from 'node:path';

const cvm = join(import.meta.dirname, '../../dist/cli/cvm.js');

/** A run of the built program. */
export type Run = {
  readonly child: ChildProcess;
  /** both streams */
  text(): string;
  /** Resolves when the output has this. */
  says(pattern: RegExp): Promise<void>;
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

export function runCvm(argv: readonly string[], env: Record<string, string>): Run {
  const child = spawn(process.execPath, [cvm, ...argv], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let text = '';
  const listeners = new Set<() => void>();
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      text += chunk.toString();
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
        const look = () => pattern.test(text) && resolve();
        listeners.add(look);
        look();
        void ended.then(() => reject(new Error(`it ended without saying ${pattern}:\n${text}`)));
      }),
  };
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

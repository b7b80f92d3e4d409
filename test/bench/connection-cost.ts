import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ensureCommand } from '../../runtime/system-packages.ts';
import { accepts, freePort } from '../support/network.ts';
import { median } from './compare.ts';
import {
  type Client,
  connectMany,
  type Handshake,
  open,
  type Psk,
  pskOf,
  type TlsVersion,
} from './connection-client.ts';
import { type BenchGateway, cvmOf, startGateway } from './gateway.ts';
import { cpuMs, type Running, start } from './processes.ts';

/** What a connection costs a server process. */
export type ConnectionCost = {
  readonly connects: readonly ConnectRow[];
  readonly idle: readonly IdleRow[];
};

/** TLS connect, CONNACK and close: milliseconds of CPU, the median of the rounds. */
export type ConnectRow = {
  readonly version: TlsVersion;
  readonly handshake: Handshake;
  readonly gatewayMs: number;
  /** of a full handshake, whatever that of the gateway is */
  readonly mosquittoMs: number;
  /** in one round all servers are at work at the same time */
  readonly ratio: number;
  /** of a server on Node's TLS that does nothing else, with the same handshake: no broker on Node.js can take less */
  readonly floorMs: number;
  readonly floorRatio: number;
};

/** An idle connection whose CONNECT was answered: KiB of resident memory. */
export type IdleRow = {
  readonly connections: number;
  readonly gatewayKib: number;
  readonly mosquittoKib: number;
  readonly ratio: number;
  readonly floorKib: number;
};

export type ConnectionLoad = {
  readonly versions: readonly TlsVersion[];
  readonly handshakes: readonly Handshake[];
  /** connections of one round, and rounds, after one that does not count */
  readonly count: number;
  readonly rounds: number;
  /** numbers of idle connections, each more than the one before */
  readonly idle: readonly number[];
};

export const usualLoad: ConnectionLoad = {
  versions: ['TLSv1.3', 'TLSv1.2'],
  handshakes: ['full', 'psk', 'ticket'],
  count: 500,
  rounds: 3,
  idle: [1000, 2000, 4000],
};

type Server = { readonly pid: number; readonly port: number; readonly ca: Buffer; readonly keys: readonly Psk[] };
type Servers = Readonly<Record<'gateway' | 'mosquitto' | 'floor', Server>>;

/** Measures servers that were just started, with the same certificate and the same client. */
export async function connectionCost(
  servers: Servers,
  load: ConnectionLoad,
  say: (line: string) => void,
): Promise<ConnectionCost> {
  const connects: ConnectRow[] = [];
  for (const version of load.versions)
    for (const handshake of load.handshakes) {
      // the gateway gives none: docs/security.md
      if (version === 'TLSv1.2' && handshake === 'ticket') continue;
      say(`${version}, ${handshake}`);
      connects.push(await connectRow(servers, { version, handshake }, load));
    }
  const idle: IdleRow[] = [];
  if (load.idle.length > 0) {
    const { gateway, mosquitto, floor } = servers;
    say(`${load.idle.join(', ')} idle connections`);
    const rows = await Promise.all([gateway, mosquitto, floor].map((server) => idleKib(server, load.idle)));
    load.idle.forEach((connections, index) => {
      const [gatewayKib = 0, mosquittoKib = 0, floorKib = 0] = rows.map((row) => row[index] ?? 0);
      idle.push({ connections, gatewayKib, mosquittoKib, ratio: gatewayKib / mosquittoKib, floorKib });
    });
  }
  return { connects, idle };
}

/** Connections before those that count: V8 compiles what runs often, and is done with it after about this many. */
const warmUp = 2500;

async function connectRow(
  servers: Servers,
  { version, handshake }: { version: TlsVersion; handshake: Handshake },
  { count, rounds }: ConnectionLoad,
): Promise<ConnectRow> {
  const pairs: { gateway: number; mosquitto: number; floor: number }[] = [];
  for (let round = 0; round <= rounds; round++) {
    const connections = round === 0 ? warmUp : count;
    const [gateway = 0, mosquitto = 0, floor = 0] = await Promise.all([
      spentMs(servers.gateway, { version, handshake }, connections),
      spentMs(servers.mosquitto, { version, handshake: 'full' }, connections),
      spentMs(servers.floor, { version, handshake }, connections),
    ]);
    if (round > 0) pairs.push({ gateway, mosquitto, floor });
  }
  return {
    version,
    handshake,
    gatewayMs: median(pairs.map(({ gateway }) => gateway)),
    mosquittoMs: median(pairs.map(({ mosquitto }) => mosquitto)),
    ratio: median(pairs.map(({ gateway, mosquitto }) => gateway / mosquitto)),
    floorMs: median(pairs.map(({ floor }) => floor)),
    floorRatio: median(pairs.map(({ floor, mosquitto }) => floor / mosquitto)),
  };
}

/** How long a server may still be busy with what has ended at the client, in milliseconds. */
const settleMs = 200;

async function spentMs(
  { pid, ...server }: Server,
  how: Pick<Client, 'version' | 'handshake'>,
  count: number,
): Promise<number> {
  const before = await cpuMs(pid);
  const made = await connectMany({ ...server, ...how }, count);
  await sleep(settleMs);
  return ((await cpuMs(pid)) - before) / made;
}

/** Connections of one source address; a gateway takes 2,000 of them. */
const ofAddress = 1000;
/** Until garbage of the handshakes is collected, as far as the server does so by itself. */
const restMs = 12_000;

/** @returns for each number of connections, how much the memory of the server has grown for each */
async function idleKib(server: Server, loads: readonly number[]): Promise<number[]> {
  const client: Client = { ...server, version: 'TLSv1.3', handshake: 'full' };
  await connectMany(client, warmUp);
  await sleep(restMs);
  const before = await residentKib(server.pid);
  const sockets: Awaited<ReturnType<typeof open>>[] = [];
  const rows: number[] = [];
  try {
    for (const load of loads) {
      while (sockets.length < load) {
        const more = Math.min(load - sockets.length, 50);
        const source = `127.0.1.${1 + Math.floor(sockets.length / ofAddress)}`;
        sockets.push(...(await Promise.all(Array.from({ length: more }, () => open(client, 0, { source })))));
      }
      await sleep(restMs);
      const ended = sockets.filter(({ destroyed }) => destroyed).length;
      if (ended > 0) throw new Error(`${ended} of ${load} idle connections were closed by port ${server.port}`);
      rows.push(((await residentKib(server.pid)) - before) / load);
    }
  } finally {
    for (const socket of sockets) socket.destroy();
  }
  return rows;
}

/** @see https://man7.org/linux/man-pages/man5/proc_pid_status.5.html */
async function residentKib(pid: number): Promise<number> {
  const [, kib] = /^VmRSS:\s+(\d+) kB$/m.exec(await readFile(`/proc/${pid}/status`, 'utf8')) ?? [];
  if (kib === undefined) throw new Error(`process ${pid} says nothing of its memory`);
  return Number(kib);
}

/** Installs mosquitto where it is missing. @param tls the folder with the gateway's certificate and key. @throws with the cure where it cannot be installed */
export async function startMosquitto(tls: string): Promise<Running & { port: number }> {
  // Debian puts it into a folder that only an administrator's PATH has
  const env = { ...process.env, PATH: [process.env.PATH ?? '', '/usr/sbin'].join(delimiter) };
  const ensured = await ensureCommand('mosquitto', { env, write: (line) => console.error(line) });
  if (!ensured.ok) throw new Error(`mosquitto is missing: ${ensured.command} (${ensured.reason})`);
  const folder = mkdtempSync(join(tmpdir(), 'cvm-bench-mosquitto-'));
  const port = await freePort();
  const settings = [
    `listener ${port} 127.0.0.1`,
    `certfile ${join(tls, 'server.crt')}`,
    `keyfile ${join(tls, 'server.key')}`,
    'allow_anonymous true',
    'user root',
  ];
  writeFileSync(join(folder, 'mosquitto.conf'), `${settings.join('\n')}\n`);
  const program = { command: 'mosquitto', argv: ['-c', join(folder, 'mosquitto.conf')], env };
  return listening(program, folder, port);
}

/** @param folder of its own, deleted when it is stopped */
async function listening(
  program: Parameters<typeof start>[0],
  folder: string,
  port: number,
): Promise<Running & { port: number }> {
  const running = await start(program, join(folder, 'program.log'), () => accepts(port));
  return {
    pid: running.pid,
    port,
    async stop() {
      await running.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** Starts the server of `bare-tls.ts`. @param keys what it knows: none for certificates and tickets alone */
async function startFloor(tls: string, keys: readonly Psk[]): Promise<Running & { port: number }> {
  const folder = mkdtempSync(join(tmpdir(), 'cvm-bench-floor-'));
  const port = await freePort();
  const keyFile = join(folder, 'keys.json');
  writeFileSync(keyFile, JSON.stringify(keys.map(({ identity, psk }) => [identity, psk.toString('base64')])));
  const argv = [join(import.meta.dirname, 'bare-tls.js'), String(port), tls, keyFile];
  const program = { command: process.execPath, argv, env: {} };
  return listening(program, folder, port);
}

/** Devices that take turns with their pre-shared keys. */
const keyed = Array.from({ length: 50 }, (_, index) => `bench-keyed-${index + 1}`);

/** Starts both servers, measures, and stops them. @param brokerFlags of Node.js */
export async function measureConnections(
  checkout: string,
  load: ConnectionLoad,
  say: (line: string) => void,
  brokerFlags: readonly string[] = [],
): Promise<ConnectionCost> {
  const gateway = await startGateway(checkout, cvmOf(checkout), undefined, brokerFlags);
  const stop: (() => Promise<void>)[] = [gateway.close];
  try {
    const tls = join(gateway.brokerFolder, 'tls');
    const mosquitto = await startMosquitto(tls);
    stop.push(mosquitto.stop);
    const keys = load.handshakes.includes('psk') ? await keysOf(gateway) : [];
    const floor = await startFloor(tls, keys);
    stop.push(floor.stop);
    say(`broker ${gateway.broker.pid}, mosquitto ${mosquitto.pid}, bare TLS ${floor.pid}`);
    const ca = readFileSync(join(tls, 'site-ca.crt'));
    const servers = {
      gateway: { ...gateway.broker, ca, keys },
      mosquitto: { ...mosquitto, ca, keys: [] },
      floor: { ...floor, ca, keys },
    };
    return await connectionCost(servers, load, say);
  } finally {
    for (const each of stop.reverse()) await each();
  }
}

async function keysOf(gateway: BenchGateway): Promise<Psk[]> {
  const tokens = await gateway.enrol(keyed);
  return [...tokens].map(([serial, token]) => pskOf(serial, token));
}

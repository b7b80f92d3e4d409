import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, createSecureContext, type TLSSocket } from 'node:tls';
import { parseArgs } from 'node:util';
import { startBroker } from '../../broker/server.ts';
import { loadTlsMaterial } from '../../broker/tls/site-ca.ts';
import { createLog } from '../../runtime/log.ts';
import { connectOnce } from '../../runtime/mqtt-connect.ts';
import { type Figure, printFigures } from '../chaos/figures.ts';
import { seeded } from '../chaos/random.ts';
import { connectPacket, createCorpus, mutate, publishPacket } from './corpus.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    cases: { type: 'string', default: '20000' },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  console.log(`npm run fuzz -- [--seed N] [--cases N] [--json]

Spoils MQTT packets, requests and CSRs, and sends them to a real broker over TLS, while a healthy device is served.`);
  process.exit(0);
}

const cases = Number(values.cases);
const random = seeded(Number(values.seed));
const accidents: string[] = [];
for (const event of ['uncaughtException', 'unhandledRejection'] as const)
  process.on(event, (reason: unknown) =>
    accidents.push(reason instanceof Error ? (reason.stack ?? '') : String(reason)),
  );

const dataDir = mkdtempSync(join(tmpdir(), 'cvm-fuzz-'));
const tls = await loadTlsMaterial({ dataDir, hostnames: [], machineName: 'fuzz' });
const broker = await startBroker({
  port: 0,
  listen: '127.0.0.1',
  tls,
  log: createLog('silent'),
  asks: { add: async ({ askId }) => askId, acknowledge: async () => {}, close: async () => {} },
  replies: { listen: async () => {}, fetch: async () => [], close: async () => {} },
});
const ca = tls.caPem ?? '';
const corpus = await createCorpus();
const choose = <T>(from: readonly T[]): T => from[Math.floor(random.next() * from.length)] as T;

/** Verifying the server for each of many thousand connections would find nothing. */
const unverified = { secureContext: createSecureContext(), rejectUnauthorized: false };

/** One connection that is cut at the first thing that is not MQTT, or after its case. */
async function openSocket(): Promise<TLSSocket> {
  const socket = connect({ host: '127.0.0.1', port: broker.port, ...unverified });
  socket.on('error', () => {});
  socket.resume();
  await new Promise((resolve) => socket.once('secureConnect', resolve).once('close', resolve));
  return socket;
}

async function spoiltStream(): Promise<number> {
  const socket = await openSocket();
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.end(mutate(choose(corpus.streams), random));
  // whoever is not cut has sent something that only waits for more
  await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, 50))]);
  socket.destroy();
  return 1;
}

/** Many payloads on one connection: a bad one is answered, and does not end it. */
async function spoiltPayloads(): Promise<number> {
  const socket = await openSocket();
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.write(connectPacket);
  let sent = 0;
  for (; sent < 50 && !socket.destroyed; sent++) {
    const topic = random.next() < 0.2 ? 'cvm/ack/FUZZ-1' : 'cvm/request/FUZZ-1';
    let heard = () => {};
    const answered = new Promise<void>((resolve) => {
      heard = resolve;
      socket.once('data', heard);
    });
    socket.write(publishPacket(topic, mutate(choose(corpus.payloads), random), sent + 1));
    await Promise.race([answered, closed, new Promise((resolve) => setTimeout(resolve, 1000))]);
    socket.off('data', heard);
  }
  socket.destroy();
  return sent;
}

/** The device whose requests go on being stored, and the longest that one took, in milliseconds. */
async function serveHealthy(running: () => boolean) {
  const client = await connectOnce({ host: 'localhost', port: broker.port, ca });
  let [served, longest] = [0, 0];
  while (running()) {
    const from = performance.now();
    await client.publishAsync('cvm/request/HEALTHY', JSON.stringify({ token: 'a-token-of-a-healthy-device' }), {
      qos: 1,
    });
    longest = Math.max(longest, performance.now() - from);
    served++;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  await client.endAsync(true);
  return { served, longest };
}

function heapMb(): number {
  globalThis.gc?.();
  return process.memoryUsage().heapUsed / 1024 / 1024;
}

let done = 0;
let calmMb = 0;
const healthy = serveHealthy(() => done < cases);
const lanes = Array.from({ length: 16 }, async () => {
  while (done < cases) {
    done += random.next() < 0.4 ? await spoiltStream() : await spoiltPayloads();
    if (calmMb === 0 && done > cases / 4) calmMb = heapMb();
  }
});
await Promise.all(lanes);
const { served, longest } = await healthy;
// what was cut is let go
await new Promise((resolve) => setTimeout(resolve, 1000));
const growthMb = heapMb() - calmMb;
const { connectionsOpen } = broker.counters();
await broker.close();
rmSync(dataDir, { recursive: true, force: true });
for (const accident of accidents.slice(0, 5)) console.error(accident);

const figures: Figure[] = [
  { name: 'cases', value: done, unit: 'cases', goal: `>= ${cases}`, holds: done >= cases },
  {
    name: 'crashes and unhandled rejections',
    value: accidents.length,
    unit: '',
    goal: '0',
    holds: accidents.length === 0,
  },
  { name: 'requests of a healthy device stored meanwhile', value: served, unit: '', goal: 'all', holds: served > 0 },
  { name: 'longest of them', value: Math.round(longest), unit: 'ms', goal: 'reported', holds: true },
  { name: 'connections left open', value: connectionsOpen, unit: '', goal: '0', holds: connectionsOpen === 0 },
  {
    name: 'heap after a quarter of the cases and after all of them, difference',
    value: Number(growthMb.toFixed(1)),
    unit: 'MB',
    goal: '<= 16',
    holds: growthMb <= 16,
  },
];
printFigures(figures, values.json);

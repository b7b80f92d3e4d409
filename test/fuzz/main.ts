import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, createSecureContext, type TLSSocket } from 'node:tls';
import { parseArgs } from 'node:util';
import { createApp } from '../../app/app.ts';
import { loadTls, serveDevices } from '../../app/broker.ts';
import type { Answer } from '../../protocol/answer.ts';
import { encodingOf } from '../../protocol/encoding.ts';
import { problems } from '../../protocol/problems.ts';
import { type RequestQueue, recipientIdOf, registrationKeyOf, requestKeyOf } from '../../queue/provisioning-request.ts';
import type { BoundReply, ReplyFeed } from '../../queue/replies.ts';
import { createLog } from '../../runtime/log.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { sealer } from '../../sealing/replies.ts';
import { signClaim } from '../../site-tls/certificates.ts';
import { tlsFilesIn } from '../../site-tls/material.ts';
import { type Figure, printFigures } from '../chaos/figures.ts';
import { seeded } from '../chaos/random.ts';
import { signedByOther } from '../support/claims.ts';
import { connectDevice } from '../support/device.ts';
import { metricOf } from '../support/metrics.ts';
import { noLine } from '../support/no-line.ts';
import { packet } from '../support/raw-mqtt.ts';
import { unguarded } from '../support/unguarded.ts';
import { connectPacket, createCorpus, fleetTopics, mutate, publishPacket } from './corpus.ts';
import { generatePayloads } from './generated.ts';
import { mqtt5Stream } from './mqtt5.ts';
import { spoiltTemplate } from './templates.ts';

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

Spoils MQTT packets (3.1.1 and 5), requests in JSON and CBOR, of both dialects, and CSRs, and sends them to a real broker over TLS, with
and without a claim certificate, while a healthy device is served; and spoils provisioning templates, as their files are read. To use every core: one run for each, with seeds of their own.`);
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
const settings = loadSettings({ CVM_DATA_DIR: dataDir, CVM_LISTEN: '127.0.0.1', CVM_MQTT_PORT: '0', CVM_CLAIMS: '1' });
const app = createApp(settings, createLog('silent'));
const tls = await loadTls(app);
/**
 * Answers every request, as workers do: the healthy device is accepted, and one that gets its replies in parts as often as a mutated request
 * asks for them; all others are rejected as with a wrong token.
 */
const [healthyDevice, partsDevice] = ['HEALTHY', 'FUZZ-PARTS'];
let registered = 0;
let announce: (reply: BoundReply) => void = () => {};
const requests: RequestQueue = {
  async add(request) {
    const { requestId, serial, tokenHash, replyKey } = request;
    const recipientId = recipientIdOf(serial, tokenHash);
    const answer: Answer =
      serial === healthyDevice || serial === partsDevice || request.claim !== undefined
        ? { status: 'accepted', credentials }
        : { status: 'rejected', problem: problems.invalidToken };
    const sealed = sealer.answer(replyKey, recipientId, answer);
    const requestKey = requestKeyOf(request);
    setImmediate(() => announce({ requestId, requestKey, recipientId, sealed }));
    return { requestId, requestKey };
  },
  async acknowledge({ serial, tokenHash, registration }) {
    if (registration === undefined) return;
    registered++;
    const { requestId, replyKey } = registration;
    const recipientId = recipientIdOf(serial, tokenHash);
    const answer: Answer =
      registered % 2 === 0
        ? { status: 'registered', thingName: serial, deviceConfiguration: { url: 'https://north.example' } }
        : { status: 'rejected', problem: problems.claimsOtherSerial };
    const sealed = sealer.answer(replyKey, recipientId, answer);
    setImmediate(() => announce({ requestId, requestKey: registrationKeyOf(requestId), recipientId, sealed }));
  },
  close: async () => {},
};
const credentials = {
  certificateId: 'c'.repeat(64),
  certificatePem: tls.cert,
  thingName: healthyDevice,
  endpoint: 'localhost',
  rootCaPem: tls.cert,
};
const replies: ReplyFeed = {
  listen: async (listener) => {
    announce = listener;
  },
  fetch: async () => [],
  close: async () => {},
};
/** Of the site CA, and of a CA of somebody else. */
const claims = await Promise.all([
  signClaim(tlsFilesIn(dataDir), { group: 'pumps', endsAt: Date.now() + 86_400_000 }, new Date()),
  signedByOther(),
]);
const { broker } = await serveDevices(app, { ...unguarded, ...noLine, requests, replies }, tls);
const corpus = await createCorpus();
const generated = generatePayloads(Number(values.seed), 500);
const choose = <T>(from: readonly T[]): T => from[Math.floor(random.next() * from.length)] as T;

/** Not verifying the server saves time on many thousand connections; it would find nothing here. */
const rejectUnauthorized = false;
const anonymous = createSecureContext();
const [claimed, claimedInVain] = claims.map(({ cert, key }) => createSecureContext({ cert, key }));

/** One connection; it ends when the broker closes it for malformed MQTT, or after its case. */
async function openSocket(secureContext = anonymous): Promise<TLSSocket> {
  const socket = connect({ host: '127.0.0.1', port: broker.port, secureContext, rejectUnauthorized });
  socket.on('error', () => {});
  socket.resume();
  await new Promise((resolve) => socket.once('secureConnect', resolve).once('close', resolve));
  return socket;
}

async function spoiltStream(): Promise<number> {
  const socket = await openSocket(
    random.pick([
      [8, anonymous],
      [2, claimed],
      [1, claimedInVain],
    ]),
  );
  const closed = new Promise((resolve) => socket.once('close', resolve));
  const stream = random.next() < 0.5 ? choose(corpus.streams) : mqtt5Stream(random, corpus.plain);
  // those of MQTT 5 have faults of their own
  socket.end(random.next() < 0.3 ? stream : mutate(stream, random));
  // a connection that stays open has sent an incomplete packet
  await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, 50))]);
  socket.destroy();
  return 1;
}

/** Many payloads on one connection, some at a time: a bad payload is answered, and does not end the connection. */
async function spoiltPayloads(): Promise<number> {
  const byClaim = random.next() < 0.3;
  const socket = await openSocket(byClaim ? claimed : anonymous);
  const closed = new Promise<void>((resolve) => socket.once('close', resolve));
  socket.write(connectPacket);
  // a spoilt ownership token goes no further
  const spare = byClaim ? 0.5 : 0.1;
  const registrations = byClaim ? await askByClaim(socket, closed) : [];
  const serial = random.next() < 0.3 ? partsDevice : 'FUZZ-1';
  let sent = 0;
  while (sent < 100 && !socket.destroyed) {
    const some = Array.from({ length: 10 }, () => {
      const from = choose(
        random.pick([
          [3, corpus.plain],
          [1, corpus.withCsr],
          [3, generated],
          [registrations.length > 0 ? 6 : 0, registrations],
        ]),
      );
      const topic = random.pick([
        [registrations.includes(from) ? 40 : 0, `$aws/provisioning-templates/pump/provision/${encodingOf(from)}`],
        [6, `cvm/request/${serial}`],
        [2, `cvm/ack/${serial}`],
        [2, choose(fleetTopics)],
      ]);
      const published = publishPacket(topic, random.next() < spare ? from : mutate(from, random), ++sent);
      // the ids of what it was sent are low ones: some parts go on, and most acknowledgements are of none
      return Buffer.concat([published, packet(0x40, Buffer.from([0, 1 + Math.floor(random.next() * 100)]))]);
    });
    const all = acknowledged(socket, sent);
    socket.write(Buffer.concat(some));
    await Promise.race([all, closed]);
  }
  socket.destroy();
  return sent;
}

/** @returns registrations with an ownership token that counts on this connection; none where it was not answered */
async function askByClaim(socket: TLSSocket, closed: Promise<void>): Promise<readonly Buffer[]> {
  let heard = '';
  const look = (data: Buffer) => {
    heard += data.toString('latin1');
  };
  socket.on('data', look);
  socket.write(publishPacket('$aws/certificates/create/json', Buffer.alloc(0), 1));
  await Promise.race([acknowledged(socket, 1), closed]);
  await new Promise((resolve) => setTimeout(resolve, 50));
  socket.off('data', look);
  const [, token] = /"certificateOwnershipToken":"([\w-]{92})"/.exec(heard) ?? [];
  if (token === undefined) return [];
  ownershipTokens++;
  return corpus.registrations(token);
}

/** Some templates at a time, without the broker. */
function spoiltTemplates(): number {
  const count = 50;
  for (let each = 0; each < count; each++) {
    const { accident, isTemplate } = spoiltTemplate(random);
    if (accident !== undefined) accidents.push(accident);
    if (isTemplate) templatesTaken++;
  }
  templates += count;
  return count;
}

/** Resolves with the PUBACK of this message, or after a while, since some messages get none. */
function acknowledged(socket: TLSSocket, id: number): Promise<void> {
  const puback = Buffer.from([0x40, 2, id >> 8, id & 0xff]);
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      socket.off('data', look);
      resolve();
    };
    const look = (data: Buffer) => {
      if (data.includes(puback)) done();
    };
    const timer = setTimeout(done, 1000);
    socket.on('data', look);
  });
}

/** A device may ask ten times a second; this one keeps to it. */
const healthyMs = 150;

/** The healthy device: how often it was answered, and the longest answer time in milliseconds. */
async function serveHealthy(running: () => boolean) {
  const device = { port: broker.port, caPem: tls.caPem ?? '' };
  const { client, next } = await connectDevice(device);
  let [asked, accepted, longest] = [0, 0, 0];
  while (running()) {
    const from = performance.now();
    const request = JSON.stringify({ token: 'a-token-of-a-healthy-device' });
    await client.publishAsync(`cvm/request/${healthyDevice}`, request, { qos: 1 });
    asked++;
    const { status } = await next();
    if (status === 'accepted') accepted++;
    longest = Math.max(longest, performance.now() - from);
    await new Promise((resolve) => setTimeout(resolve, healthyMs));
  }
  await client.endAsync(true);
  return { asked, accepted, longest };
}

function heapMb(): number {
  globalThis.gc?.();
  return process.memoryUsage().heapUsed / 1024 / 1024;
}

let done = 0;
let [ownershipTokens, templates, templatesTaken] = [0, 0, 0];
let calmMb = 0;
let told = 0;
const healthy = serveHealthy(() => done < cases);
const lanes = Array.from({ length: 32 }, async () => {
  while (done < cases) {
    // not `done += await`: that reads `done` before the other lanes have added to it
    const spoil = random.pick<() => number | Promise<number>>([
      [40, spoiltStream],
      [60, spoiltPayloads],
      [20, spoiltTemplates],
    ]);
    const some = await spoil();
    done += some;
    if (calmMb === 0 && done > cases / 4) calmMb = heapMb();
    if (!values.json && done >= told + cases / 10) {
      told = done;
      console.error(`${done} of ${cases} cases`);
    }
  }
});
await Promise.all(lanes);
const { asked, accepted, longest } = await healthy;
// lets the closed connections be collected
await new Promise((resolve) => setTimeout(resolve, 1000));
const growthMb = heapMb() - calmMb;
const connectionsOpen = await metricOf(app.metricsRegistry, 'cvm_broker_connections_open');
await app.lifecycle.close();
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
  {
    name: 'requests of a healthy device answered meanwhile',
    value: `${accepted} of ${asked}`,
    goal: 'all',
    holds: asked > 0 && accepted === asked,
  },
  {
    name: 'connections by a claim certificate that got an ownership token',
    value: ownershipTokens,
    goal: '>= 1',
    holds: ownershipTokens >= 1,
  },
  { name: 'registrations that came to the queue', value: registered, goal: '>= 1', holds: registered >= 1 },
  {
    name: 'templates, and those of them that have no fault',
    value: `${templates}, ${templatesTaken}`,
    goal: 'some of them',
    holds: templatesTaken > 0 && templatesTaken < templates,
  },
  {
    name: 'longest answer time of the healthy device',
    value: Math.round(longest),
    unit: 'ms',
    goal: 'reported',
    holds: true,
  },
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

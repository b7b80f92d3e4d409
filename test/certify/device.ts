import { createPublicKey, type JsonWebKey, randomBytes, verify } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type MqttClient } from 'mqtt';
import { makeDeviceKey } from '../../gateway-sim/device-key.ts';
import { ackTopic, replyTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { signedTimeBytes, timeTopic } from '../../protocol/time.ts';
import type { Fault, TimeFault } from './faults.ts';

/*
 * The program of a device, for `cvm certify --device-command`. It keeps to the protocol, but for the faults that DEVICE_FAULTS names. With
 * DEVICE_PSK=1 it proves its token by a pre-shared key; with DEVICE_TIME=1 it asks for the time first.
 */

const { CVM_HOST: host, CVM_PORT: port, CVM_CA: ca = '', CVM_SERIAL: serial = '', CVM_TOKEN: token } = process.env;
const folder = process.env.CVM_STATE ?? '';
const faults = new Set((process.env.DEVICE_FAULTS ?? '').split(','));
const has = (fault: Fault | TimeFault) => faults.has(fault);

type Reply = { status: string; certificateId: string; certificatePem: string; retryAfter?: number };
/** Ends an attempt: the next one comes after so many seconds, or after the usual pause. */
class TryAgain extends Error {
  readonly seconds: number | undefined;
  constructor(seconds?: number) {
    super('try again');
    this.seconds = seconds;
  }
}

const [firstPauseMs, longestPauseMs, pubackMs, silenceMs] = [1000, 60_000, 10_000, 30_000];
const known = new Set(['status', 'id', 'certificateId', 'certificatePem', 'thingName', 'endpoint', 'rootCa', 'time']);
const flash = (name: string) => join(folder, name);
const inFlash = (name: string) => (existsSync(flash(name)) ? readFileSync(flash(name), 'utf8') : undefined);

async function csr(): Promise<string> {
  const kept = has('new-key-each-time') ? undefined : inFlash('csr');
  if (kept !== undefined) return kept;
  const { csrPem } = await makeDeviceKey(serial);
  writeFileSync(flash('csr'), csrPem);
  return csrPem;
}

const byCertificate = (nameless: boolean) => ({
  ca: readFileSync(ca),
  ...(nameless ? {} : { username: serial, password: token ?? '' }),
  rejectUnauthorized: !has('trusts-any-certificate'),
});

/** It can do nothing but its key: no certificate can take its place. */
const byKey = () => ({
  pskCallback: () => ({ identity: serial, psk: Buffer.from(process.env.CVM_PSK ?? '', 'hex') }),
  ciphers: 'PSK-AES128-GCM-SHA256',
  maxVersion: 'TLSv1.2' as const,
  checkServerIdentity: () => undefined,
});

function open(nameless = false): Promise<MqttClient> {
  const client = connect({
    protocol: 'mqtts',
    host: host ?? '',
    port: Number(port),
    reconnectPeriod: 0,
    ...(process.env.DEVICE_PSK === '1' ? byKey() : byCertificate(nameless)),
  });
  return new Promise((resolve, reject) => {
    client.on('error', reject);
    client.once('close', () => reject(new TryAgain()));
    client.once('connect', () => resolve(client));
  });
}

/** On a connection of its own, without its token. @throws TryAgain where the answer is not signed for this nonce */
async function askTime(): Promise<void> {
  const client = await open(true);
  try {
    const nonce = randomBytes(16).toString('hex');
    const answered = new Promise<Buffer>((resolve, reject) => {
      client.once('message', (_topic, payload) => resolve(payload));
      client.once('close', () => reject(new TryAgain()));
    });
    answered.catch(() => {});
    await client.publishAsync(timeTopic(nonce), '{}', { qos: 1 });
    const { time, sig } = JSON.parse((await answered).toString()) as { time: number; sig: string };
    const point = Buffer.from(process.env.CVM_TIME_KEY ?? '', 'hex');
    const [x, y] = [point.subarray(1, 33), point.subarray(33)].map((each) => each.toString('base64url'));
    const key = createPublicKey({ format: 'jwk', key: { kty: 'EC', crv: 'P-256', ...{ x, y } } as JsonWebKey });
    const signed = verify('sha256', signedTimeBytes(nonce, time), key, Buffer.from(sig, 'base64'));
    if (!signed && !has('believes-any-time')) throw new TryAgain();
  } finally {
    await client.endAsync(true);
  }
}

async function ask(client: MqttClient): Promise<void> {
  const payload = JSON.stringify({ csr: await csr(), id: '1' });
  const sent = client.publishAsync(requestTopic(serial), payload, { qos: 1 });
  if (has('two-at-once')) client.publish(requestTopic(serial), payload, { qos: 1 });
  await Promise.race([sent, sleep(pubackMs).then(() => Promise.reject(new TryAgain()))]);
}

function nextReply(client: MqttClient): Promise<Reply> {
  return new Promise((resolve, reject) => {
    setTimeout(() => reject(new TryAgain()), silenceMs).unref();
    client.once('close', () => reject(new TryAgain()));
    client.on('message', (_topic, payload) => {
      const reply = JSON.parse(payload.toString()) as Reply;
      if (reply.status === 'pending' && has('takes-pending-for-an-answer')) process.exit(0);
      if (reply.status === 'accepted' || reply.status === 'rejected') resolve(reply);
      else if (reply.status === 'pending' && !('etaSeconds' in reply)) reject(new TryAgain(reply.retryAfter));
    });
  });
}

async function acknowledge(client: MqttClient, certificateId: string): Promise<void> {
  const id = has('acknowledges-another-id') ? 'f'.repeat(64) : certificateId;
  const sent = client.publishAsync(ackTopic(serial), JSON.stringify({ certificateId: id }), { qos: 1 });
  const gone = new Promise((_resolve, reject) => client.once('close', () => reject(new TryAgain())));
  await Promise.race([sent, gone]);
}

/** @returns when all is stored and acknowledged */
async function attempt(): Promise<void> {
  const client = await open();
  try {
    const kept = inFlash('certificate-id');
    if (kept !== undefined) return await acknowledge(client, kept);
    await client.subscribeAsync(replyTopic(serial), { qos: 1 });
    const answered = nextReply(client);
    answered.catch(() => {});
    await Promise.race([ask(client), answered]);
    const reply = await answered;
    if (reply.status === 'rejected') return await refused(reply);
    if (has('stumbles-over-new-fields') && Object.keys(reply).some((key) => !known.has(key))) process.exit(0);
    if (has('acknowledges-before-it-stores')) {
      await acknowledge(client, reply.certificateId);
      await sleep(1000);
    }
    writeFileSync(flash('certificate'), reply.certificatePem);
    writeFileSync(flash('certificate-id'), reply.certificateId);
    await acknowledge(client, reply.certificateId);
  } finally {
    await client.endAsync(true);
  }
}

async function refused({ retryAfter }: Reply): Promise<void> {
  const hurry = 0.3;
  if (retryAfter !== undefined) throw new TryAgain(has('ignores-retry-after') ? hurry : retryAfter);
  if (has('asks-after-a-refusal')) throw new TryAgain(hurry);
  process.exit(1);
}

let hasTime = process.env.DEVICE_TIME !== '1';
for (let pause = firstPauseMs; ; pause = Math.min(2 * pause, longestPauseMs)) {
  try {
    if (!hasTime) await askTime();
    hasTime = true;
    await attempt();
    process.exit(0);
  } catch (error) {
    const { seconds } = error instanceof TryAgain ? error : new TryAgain();
    const usual = has('no-pause') ? 0 : pause * (1 + Math.random() / 4);
    await sleep(seconds === undefined ? usual : seconds * 1000);
  }
}

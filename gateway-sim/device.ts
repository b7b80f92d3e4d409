import { createHash, createPrivateKey, randomUUID, X509Certificate } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { MqttClient } from 'mqtt';
import { ackTopic, replyTopic, requestTopic } from '../protocol/topics.ts';
import { connectOnce } from '../runtime/mqtt-connect.ts';
import { makeDeviceKey } from './device-key.ts';

export type Flow = 'rsa' | 'ec' | 'csr';
export type Gateway = { readonly host: string; readonly port: number; readonly caPem: string };
export type Credential = { readonly serial: string; readonly token: string };

/** How a simulated device ended. `wrong`: accepted, but with an answer that does not hold what it promises. */
export type Outcome =
  | { readonly kind: 'accepted'; readonly latencyMs: number; readonly attempts: number }
  | { readonly kind: 'rejected'; readonly errorCode: string; readonly attempts: number }
  | { readonly kind: 'wrong'; readonly reason: string; readonly attempts: number }
  | { readonly kind: 'timedOut'; readonly attempts: number };

type Reply = {
  status?: string;
  id?: string;
  errorCode?: string;
  certificateId?: string;
  certificatePem?: string;
  privateKey?: string;
  thingName?: string;
};

/** How long one connection waits for its answer, and the longest pause before the next, in milliseconds. */
const patienceMs = 120_000;
const maxPauseMs = 30_000;

/**
 * One device as firmware would be: connect, subscribe, ask, wait; when the connection breaks, try again with full jitter.
 * Latency runs from the first request to the accepted answer.
 */
export async function runDevice(
  gateway: Gateway,
  { serial, token }: Credential,
  flow: Flow,
  timeoutMs: number,
): Promise<Outcome> {
  const own = flow === 'csr' ? await makeDeviceKey(serial) : undefined;
  const request = { token, ...(own === undefined ? { key: flow } : { csr: own.csrPem }) };
  const deadline = performance.now() + timeoutMs;
  let attempts = 0;
  let asked: number | undefined;
  while (performance.now() < deadline) {
    attempts++;
    try {
      const id = randomUUID();
      const reply = await askOnce(
        gateway,
        serial,
        { ...request, id },
        Math.min(patienceMs, deadline - performance.now()),
        () => {
          asked ??= performance.now();
        },
      );
      if (reply.status === 'rejected') return { kind: 'rejected', errorCode: reply.errorCode ?? '', attempts };
      const reason = fault(reply, serial, id, own?.privateKeyPem);
      return reason === undefined
        ? { kind: 'accepted', latencyMs: performance.now() - (asked ?? 0), attempts }
        : { kind: 'wrong', reason, attempts };
    } catch {
      await sleep(Math.random() * Math.min(maxPauseMs, 500 * 2 ** Math.min(attempts, 10)));
    }
  }
  return { kind: 'timedOut', attempts };
}

/** @throws when the connection breaks or no answer comes in time */
async function askOnce(
  { host, port, caPem }: Gateway,
  serial: string,
  request: object,
  waitMs: number,
  onAsk: () => void,
): Promise<Reply> {
  const client = await connectOnce({ host, port, ca: caPem, servername: host, clientId: serial });
  try {
    await client.subscribeAsync(replyTopic(serial), { qos: 1 });
    const reply = finalReply(client, waitMs);
    // a connection that breaks during the publish rejects both; one is enough
    reply.catch(() => {});
    onAsk();
    await client.publishAsync(requestTopic(serial), JSON.stringify(request), { qos: 1 });
    const answer = await reply;
    if (answer.status === 'accepted')
      await client.publishAsync(ackTopic(serial), JSON.stringify({ certificateId: answer.certificateId }), { qos: 1 });
    return answer;
  } finally {
    await client.endAsync(true);
  }
}

/** The first answer that is not `pending`. */
function finalReply(client: MqttClient, waitMs: number): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('no answer in time')), waitMs);
    client.once('close', () => reject(new Error('the connection closed')));
    client.on('message', (_topic, payload) => {
      const reply = JSON.parse(payload.toString()) as Reply;
      if (reply.status === 'pending') return;
      clearTimeout(timer);
      resolve(reply);
    });
  });
}

/** What is wrong with an accepted answer. Without a key of its own, a device needs one from the answer that fits. */
function fault(reply: Reply, serial: string, id: string, ownKey: string | undefined): string | undefined {
  if (reply.id !== id) return 'the id is not the one that was asked with';
  if (reply.thingName !== serial) return 'the thing name is not the serial';
  try {
    const certificate = new X509Certificate(reply.certificatePem ?? '');
    if (createHash('sha256').update(certificate.raw).digest('hex') !== reply.certificateId)
      return 'certificateId is not the hash of the certificate';
    return certificate.checkPrivateKey(createPrivateKey(ownKey ?? reply.privateKey ?? ''))
      ? undefined
      : 'the private key does not belong to the certificate';
  } catch {
    return 'certificate or private key cannot be read';
  }
}

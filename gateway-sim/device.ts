import { createHash, createPrivateKey, randomUUID, X509Certificate } from 'node:crypto';
import { isIP } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { MqttClient } from 'mqtt';
import { ackTopic, replyTopic, requestTopic } from '../protocol/cvm/topics.ts';
import { connectOnce } from '../runtime/mqtt-connect.ts';
import { makeDeviceKey } from './device-key.ts';

export type Flow = 'rsa' | 'ec' | 'csr';
export type Gateway = { readonly host: string; readonly port: number; readonly caPem: string };
export type Credential = { readonly serial: string; readonly token: string };

/** How a simulated device ended. `wrong`: it was accepted, and the answer does not fit together. */
export type Outcome =
  | { readonly kind: 'accepted'; readonly latencyMs: number; readonly attempts: number }
  | { readonly kind: 'rejected'; readonly errorCode: string; readonly attempts: number }
  | { readonly kind: 'wrong'; readonly reason: string; readonly attempts: number }
  /** `reason`: why its last attempt failed */
  | { readonly kind: 'timedOut'; readonly reason: string; readonly attempts: number };

/** What an accepted device stores in its flash; PEM. */
export type Stored = {
  readonly serial: string;
  readonly certificateId: string;
  readonly certificatePem: string;
  readonly privateKeyPem: string;
};

/** What a device reads of a reply. */
export type Reply = {
  status?: string;
  id?: string;
  errorCode?: string;
  retryAfter?: number;
  certificateId?: string;
  certificatePem?: string;
  privateKey?: string;
  thingName?: string;
};

/** How long one connection waits for its answer, the longest pause before the next, and how often it acknowledges. */
const [patienceMs, maxPauseMs, maxAcknowledgements] = [120_000, 30_000, 5];

export type DeviceOptions = {
  /** for all its attempts together, in milliseconds */
  readonly timeoutMs: number;
  /** for the answer on one connection, in milliseconds */
  readonly patienceMs?: number;
  /** between two attempts, at most, in milliseconds */
  readonly maxPauseMs?: number;
  /** before it acknowledges, as firmware writes to flash before it does */
  readonly store?: (stored: Stored) => void;
};

/**
 * One device as firmware would be: connect, subscribe, ask, wait; when the connection breaks, or the answer says when to
 * come back, try again with full jitter. It stores its credentials, then acknowledges them.
 * Latency runs from the first request to the accepted answer.
 */
export async function runDevice(
  gateway: Gateway,
  credential: Credential,
  flow: Flow,
  options: DeviceOptions,
): Promise<Outcome> {
  const { serial, token } = credential;
  const own = flow === 'csr' ? await makeDeviceKey(serial) : undefined;
  const request = { token, ...(own === undefined ? { key: flow } : { csr: own.csrPem }) };
  const deadline = performance.now() + options.timeoutMs;
  let asked: number | undefined;
  const onAsk = () => {
    asked ??= performance.now();
  };
  let [attempts, reason] = [0, 'no attempt was made'];
  const left = () => deadline - performance.now();
  while (left() > 0) {
    attempts++;
    const id = randomUUID();
    const waitMs = Math.min(options.patienceMs ?? patienceMs, left());
    let outcome: Outcome | undefined;
    const accept = (reply: Reply): boolean => {
      const wrong = fault(reply, serial, id, own?.privateKeyPem);
      if (wrong === undefined) options.store?.(storedFrom(reply, serial, own?.privateKeyPem));
      outcome =
        wrong === undefined
          ? { kind: 'accepted', latencyMs: performance.now() - (asked ?? 0), attempts }
          : { kind: 'wrong', reason: wrong, attempts };
      return wrong === undefined;
    };
    const result = await askOnce(gateway, serial, { ...request, id }, waitMs, onAsk, accept).catch((error: Error) => {
      reason = error.message;
    });
    // the device has stored its credentials, so a connection that broke after that does not matter
    if (outcome !== undefined) {
      const { certificateId } = result?.reply ?? {};
      if (result?.acknowledged === false && certificateId) await acknowledge(gateway, credential, certificateId);
      return outcome;
    }
    if (result !== undefined) {
      const { retryAfter, errorCode = '' } = result.reply;
      if (retryAfter === undefined) return { kind: 'rejected', errorCode, attempts };
      reason = `told to come back later: ${errorCode}`;
    }
    await pause(attempts, Math.min(options.maxPauseMs ?? maxPauseMs, left()));
  }
  return { kind: 'timedOut', reason, attempts };
}

function storedFrom(reply: Reply, serial: string, ownKey: string | undefined): Stored {
  const { certificateId = '', certificatePem = '', privateKey = '' } = reply;
  return { serial, certificateId, certificatePem, privateKeyPem: ownKey ?? privateKey };
}

/** Full jitter. */
function pause(attempts: number, longestMs: number): Promise<void> {
  return sleep(Math.random() * Math.max(0, Math.min(longestMs, 500 * 2 ** Math.min(attempts, 10))));
}

/** @throws when the connection breaks or no answer comes in time */
async function askOnce(
  { host, port, caPem }: Gateway,
  serial: string,
  request: object,
  waitMs: number,
  onAsk: () => void,
  accept: (reply: Reply) => boolean,
): Promise<{ reply: Reply; acknowledged?: boolean }> {
  const client = await connectOnce({
    ...to({ host, port, caPem }),
    connectTimeout: Math.min(30_000, waitMs),
    clientId: serial,
  });
  try {
    await client.subscribeAsync(replyTopic(serial), { qos: 1 });
    const reply = finalReply(client, waitMs);
    // a connection that breaks during the publish rejects both; one is enough
    reply.catch(() => {});
    onAsk();
    // the answer may be here before the PUBACK, and counts
    await Promise.race([publish(client, requestTopic(serial), request), reply]);
    const answer = await reply;
    if (answer.status !== 'accepted' || !accept(answer)) return { reply: answer };
    const { certificateId } = answer;
    const acknowledged = await publish(client, ackTopic(serial), { certificateId })
      .then(() => true)
      .catch(() => false);
    return { reply: answer, acknowledged };
  } finally {
    await client.endAsync(true);
  }
}

/** An address has no place in SNI (RFC 6066 section 3); the certificate is compared with the host in any case. */
function to({ host, port, caPem }: Gateway) {
  return { host, port, ca: caPem, ...(isIP(host) === 0 ? { servername: host } : {}) };
}

/** Repeats after a broken connection, a few times; if all fail, the replay window ends by itself. */
async function acknowledge(gateway: Gateway, { serial, token }: Credential, certificateId: string): Promise<void> {
  const connect = { ...to(gateway), clientId: serial, username: serial, password: token };
  for (let attempts = 1; attempts <= maxAcknowledgements; attempts++) {
    try {
      const client = await connectOnce(connect);
      try {
        return await publish(client, ackTopic(serial), { certificateId });
      } finally {
        await client.endAsync(true);
      }
    } catch {
      await pause(attempts, maxPauseMs);
    }
  }
}

/** Resolves with the PUBACK. The library would keep an unsent packet for a reconnection and wait for ever. */
async function publish(client: MqttClient, topic: string, message: object): Promise<void> {
  let onClose = () => {};
  const closed = new Promise<never>((_resolve, reject) => {
    onClose = () => reject(new Error('the connection closed'));
    client.once('close', onClose);
  });
  try {
    await Promise.race([client.publishAsync(topic, JSON.stringify(message), { qos: 1 }), closed]);
  } finally {
    client.off('close', onClose);
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

/** The fault of an accepted answer; undefined when it has none. A device without its own key needs a matching one in the answer. */
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

import { setTimeout as delay } from 'node:timers/promises';
import type { IClientOptions, MqttClient } from 'mqtt';
import { replyTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { readPayload } from '../../protocol/encoding.ts';
import { connectOnce } from '../../runtime/mqtt-connect.ts';

export type Reply = {
  status: string;
  id?: string;
  statusCode?: number;
  retryAfter?: number;
  errorCode?: string;
  errorMessage?: string;
  certificateId?: string;
  certificatePem?: string;
  privateKey?: string;
  thingName?: string;
  endpoint?: string;
  rootCa?: string;
  time?: number;
};

/** How long the device will wait. */
export type Notice = { status: 'pending'; id?: string; position: number; etaSeconds?: number; retryAfter: number };

/** A device as firmware would be: connects once, never reconnects by itself, and keeps what it hears; `pending` apart, as `notices`. */
export async function connectDevice(
  broker: { port: number; caPem: string },
  options: IClientOptions & { pskCallback?: () => { psk: Buffer; identity: string } } = {},
) {
  const ca = broker.caPem === '' ? {} : { ca: broker.caPem };
  const client = await connectOnce({ host: 'localhost', port: broker.port, ...ca, ...options });
  const heard: { topic: string; reply: Reply }[] = [];
  const notices: Notice[] = [];
  const waiting: (() => void)[] = [];
  client.on('message', (topic, payload) => {
    const read = readPayload(payload);
    const reply = ('fault' in read ? read : read.value) as unknown as Reply;
    if (reply.status === 'pending') return void notices.push(reply as unknown as Notice);
    heard.push({ topic, reply });
    for (const wake of waiting.splice(0)) wake();
  });
  return { client, heard, notices, next: (withinMs = 45_000) => nextReply(client, heard, waiting, withinMs) };
}

export type TestDevice = Awaited<ReturnType<typeof connectDevice>>;

async function nextReply(
  client: MqttClient,
  heard: { reply: Reply }[],
  waiting: (() => void)[],
  withinMs: number,
): Promise<Reply> {
  const seen = heard.length;
  if (seen > 0) return (heard.shift() as { reply: Reply }).reply;
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no reply within ${withinMs / 1000} s`)), withinMs);
    const onClose = () => reject(new Error('the connection closed before the reply'));
    client.once('close', onClose);
    waiting.push(() => {
      clearTimeout(timer);
      client.off('close', onClose);
      resolve();
    });
  });
  return (heard.shift() as { reply: Reply }).reply;
}

/** Connects, asks, waits for the answer, leaves. */
export async function askOnce(
  broker: { port: number; caPem: string },
  serial: string,
  request: unknown,
  options: { subscribe?: boolean; username?: string; password?: string } = {},
): Promise<Reply> {
  const { subscribe = false, ...connect } = options;
  const device = await connectDevice(broker, connect);
  try {
    // MQTT.js keeps a message whose PUBACK never came for a next connection, and waits
    const closed = new Promise<never>((_, reject) =>
      device.client.once('close', () => reject(new Error('the connection closed before the PUBACK'))),
    );
    closed.catch(() => {});
    if (subscribe) await device.client.subscribeAsync(replyTopic(serial), { qos: 1 });
    const payload = typeof request === 'string' || Buffer.isBuffer(request) ? request : JSON.stringify(request);
    await Promise.race([device.client.publishAsync(requestTopic(serial), payload, { qos: 1 }), closed]);
    return await device.next();
  } finally {
    await device.client.endAsync(true);
  }
}

/**
 * The same, and asks again when it was told to wait, as firmware does. A right token has to wait a second behind a wrong one as long as the broker has not
 * heard of it, which is so for a moment after the device was enrolled.
 */
export async function askUntilDecided(...asked: Parameters<typeof askOnce>): Promise<Reply> {
  for (;;) {
    const reply = await askOnce(...asked);
    if (reply.errorCode !== 'Throttled') return reply;
    await delay(1000 * (reply.retryAfter ?? 1));
  }
}

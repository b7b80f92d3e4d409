import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { decode, encode } from 'cborg';
import type { IClientOptions } from 'mqtt';
import { connectOnce } from '../../runtime/mqtt-connect.ts';

/** Topics of AWS IoT Fleet Provisioning, as clients write them. */
export const create = (form: 'json' | 'cbor') => `$aws/certificates/create/${form}`;
export const createFromCsr = (form: 'json' | 'cbor') => `$aws/certificates/create-from-csr/${form}`;
export const provision = (template: string, form: 'json' | 'cbor') =>
  `$aws/provisioning-templates/${template}/provision/${form}`;
export const answersOf = (topic: string) => [`${topic}/accepted`, `${topic}/rejected`];

export type FleetReply = {
  certificateId?: string;
  certificatePem?: string;
  privateKey?: string;
  certificateOwnershipToken?: string;
  thingName?: string;
  deviceConfiguration?: Record<string, string>;
  statusCode?: number;
  errorCode?: string;
  errorMessage?: string;
};
export type Heard = { topic: string; payload: Buffer; body: FleetReply };

/** Firmware that speaks Fleet Provisioning: it keeps what it hears, whether it subscribed or not. */
export async function connectFleetDevice(
  broker: { port: number; caPem: string },
  options: IClientOptions & { pskCallback?: () => { psk: Buffer; identity: string } } = {},
  version: 4 | 5 = 4,
) {
  const ca = broker.caPem === '' ? {} : { ca: broker.caPem };
  const client = await connectOnce({ host: 'localhost', port: broker.port, ...ca, ...options }, version);
  const heard: Heard[] = [];
  const waiting: (() => void)[] = [];
  client.on('message', (topic, payload) => {
    const body = payload[0] === 0x7b ? JSON.parse(payload.toString()) : decode(payload);
    heard.push({ topic, payload, body: body as FleetReply });
    for (const wake of waiting.splice(0)) wake();
  });
  const next = async (withinMs = 45_000): Promise<Heard> => {
    if (heard.length === 0)
      await new Promise<void>((resolve, reject) => {
        const fail = (why: string) => reject(new Error(why));
        const onClose = () => fail('the connection closed before the answer');
        const timer = setTimeout(() => fail(`no answer within ${withinMs / 1000} s`), withinMs);
        client.once('close', onClose);
        waiting.push(() => {
          clearTimeout(timer);
          client.off('close', onClose);
          resolve();
        });
        if (!client.connected) onClose();
      });
    return heard.shift() as Heard;
  };
  const publish = (topic: string, fields: object | Buffer) => {
    const encoded = topic.endsWith('/cbor') ? Buffer.from(encode(fields)) : JSON.stringify(fields);
    return client.publishAsync(topic, Buffer.isBuffer(fields) ? fields : encoded, { qos: 1 });
  };
  return {
    client,
    heard,
    next,
    publish,
    subscribe: (filter: string | string[]) => client.subscribeAsync(filter, { qos: 1 }),
    async askOnce(topic: string, fields: object | Buffer = Buffer.alloc(0)): Promise<Heard> {
      await publish(topic, fields);
      return next();
    },
    /** Asks again when it was told to wait (429), as firmware does: also an empty line is slow on a busy machine. */
    ask(topic: string, fields?: object | Buffer): Promise<Heard> {
      return untilDecided(() => this.askOnce(topic, fields));
    },
    leave: () => client.endAsync(true),
  };
}

/** A gateway tells a device that it has to wait, by 429, when it has had no answer for it for two to four seconds. It keeps its place. */
export async function untilDecided<Answer extends { readonly body: FleetReply }>(
  ask: () => Promise<Answer>,
): Promise<Answer> {
  for (;;) {
    const answer = await ask();
    if (answer.body.statusCode !== 429) return answer;
    await delay(1000);
  }
}

/** A folder with these templates, for `CVM_TEMPLATES_DIR`. */
export function templateFolder(templates: Readonly<Record<string, object>>) {
  const folder = mkdtempSync(join(tmpdir(), 'cvm-templates-'));
  for (const [name, body] of Object.entries(templates))
    writeFileSync(join(folder, `${name}.json`), JSON.stringify(body));
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** The smallest template, and what a test adds. */
export const fleetTemplate = (thing: object = {}, more: object = {}, resources: object = {}) => ({
  Parameters: { SerialNumber: { Type: 'String' } },
  Resources: {
    thing: { Type: 'AWS::IoT::Thing', Properties: { ThingName: { Ref: 'SerialNumber' }, ...thing } },
    certificate: {
      Type: 'AWS::IoT::Certificate',
      Properties: { CertificateId: { Ref: 'AWS::IoT::Certificate::Id' }, Status: 'Active' },
    },
    ...resources,
  },
  ...more,
});

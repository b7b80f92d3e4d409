import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
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
  client.on('message', (topic, payload) => {
    const body = payload[0] === 0x7b ? JSON.parse(payload.toString()) : decode(payload);
    heard.push({ topic, payload, body: body as FleetReply });
  });
  const next = async (withinMs = 20_000): Promise<Heard> => {
    const deadline = performance.now() + withinMs;
    while (heard.length === 0) {
      if (performance.now() > deadline) throw new Error(`no answer within ${withinMs / 1000} s`);
      if (!client.connected) throw new Error('the connection closed before the answer');
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
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
    async ask(topic: string, fields: object | Buffer = Buffer.alloc(0)): Promise<Heard> {
      await publish(topic, fields);
      return next();
    },
    leave: () => client.endAsync(true),
  };
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

import { decode, encode } from 'cborg';
import type { Packet } from 'mqtt-packet';
import type { WireDevice } from './wire-device.ts';

/** What a device asks with, and how it speaks. */
export type Provisioning = {
  readonly serial: string;
  /** proven by the payload or by CONNECT; undefined: by the pre-shared key */
  readonly token?: string;
  readonly encoding: 'json' | 'cbor';
  readonly protocolVersion: 4 | 5;
  /** of the request, beside the token */
  readonly fields: Readonly<Record<string, unknown>>;
  /** It waits for no CONNACK, subscribes to nothing, and puts two packets into one TLS record where it has two. */
  readonly lean?: boolean;
};

const connectPacket = ({ serial, protocolVersion }: Provisioning, more: object = {}): Packet => ({
  cmd: 'connect',
  protocolId: 'MQTT',
  protocolVersion,
  clean: true,
  clientId: serial,
  keepalive: 60,
  ...more,
});
const publish = (topic: string, payload: Buffer, messageId: number): Packet => ({
  cmd: 'publish',
  topic,
  payload,
  qos: 1,
  messageId,
  dup: false,
  retain: false,
});
const subscribe = (messageId: number, ...topics: string[]): Packet => ({
  cmd: 'subscribe',
  messageId,
  subscriptions: topics.map((topic) => ({ topic, qos: 1 })),
});
const puback = (messageId = 0): Packet => ({ cmd: 'puback', messageId });
const disconnect: Packet = { cmd: 'disconnect' };

const write = (fields: object, encoding: 'json' | 'cbor'): Buffer =>
  Buffer.from(encoding === 'json' ? JSON.stringify(fields) : encode(fields));

type Accepted = { readonly certificateId: string | Uint8Array; readonly endpoint: string };

/** CONNECT to DISCONNECT by our own protocol. @returns what the reply says */
export async function provision(device: WireDevice, asked: Provisioning): Promise<Accepted> {
  const { serial, token, encoding, fields, lean = false } = asked;
  const request = write({ ...(token === undefined ? {} : { token }), ...fields }, encoding);
  const asking = publish(`cvm/request/${serial}`, request, 1);
  if (lean) {
    device.send(connectPacket(asked), asking);
    await device.next('connack');
  } else {
    device.send(connectPacket(asked));
    await device.next('connack');
    device.send(subscribe(2, `cvm/reply/${serial}`));
    await device.next('suback');
    device.send(asking);
  }
  const { payload, acknowledge } = await readReply(device);
  const reply = acceptedOf(payload, encoding);
  // in the form in which the reply has it: text, or bytes where it is compact
  const stored = publish(`cvm/ack/${serial}`, write({ certificateId: reply.certificateId }, encoding), 3);
  if (lean) device.send(acknowledge, stored);
  else {
    device.send(acknowledge);
    device.send(stored);
  }
  for (let left = 2; left > 0; left--) await device.next('puback');
  device.send(disconnect);
  await device.leave();
  return reply;
}

/** The whole reply, in one packet or in parts (docs/protocol.md, "Small packets"). The last packet is still to be acknowledged. */
async function readReply(device: WireDevice): Promise<{ payload: Buffer; acknowledge: Packet }> {
  const parts: Buffer[] = [];
  let last = 0;
  for (;;) {
    const { payload: text, messageId } = await device.next('publish');
    const payload = Buffer.from(text);
    const [type] = payload;
    if (type !== 1 && type !== 2) return { payload, acknowledge: puback(messageId) };
    if (type === 1) last = payload.readUInt16BE(1);
    else parts.push(payload.subarray(5));
    if (parts.length === last) return { payload: Buffer.concat(parts), acknowledge: puback(messageId) };
    device.send(puback(messageId));
  }
}

function acceptedOf(payload: Buffer, encoding: 'json' | 'cbor'): Accepted {
  if (encoding === 'json') return checked(JSON.parse(payload.toString()));
  const map = decode(payload, { useMaps: true }) as Map<string | number, unknown>;
  // the keys of the compact form
  if (map.has(0))
    return checked({ status: map.get(0) === 1 ? 'accepted' : 'no', certificateId: map.get(2), endpoint: map.get(6) });
  return checked(Object.fromEntries(map));
}

function checked(reply: Record<string, unknown>): Accepted {
  if (reply.status !== 'accepted') throw new Error(`no certificate: ${JSON.stringify(reply)}`);
  return reply as unknown as Accepted;
}

/** CONNECT to DISCONNECT by Fleet Provisioning, with the subscriptions that AWS's clients make. @param csr PEM */
export async function provisionFleet(device: WireDevice, asked: Provisioning, csr: string): Promise<void> {
  const { serial, token = '', encoding } = asked;
  device.send(connectPacket(asked, { username: serial, password: Buffer.from(token) }));
  await device.next('connack');
  const ask = async (topic: string, fields: object, messageId: number) => {
    device.send(subscribe(messageId, `${topic}/accepted`, `${topic}/rejected`));
    await device.next('suback');
    device.send(publish(topic, write(fields, encoding), messageId + 1));
    const answer = await device.next('publish');
    device.send(puback(answer.messageId));
    await device.next('puback');
    const body = encoding === 'json' ? JSON.parse(answer.payload.toString()) : decode(Buffer.from(answer.payload));
    if (!answer.topic.endsWith('/accepted')) throw new Error(`no certificate: ${JSON.stringify(body)}`);
    return body as { certificateOwnershipToken: string };
  };
  const { certificateOwnershipToken } = await ask(
    `$aws/certificates/create-from-csr/${encoding}`,
    { certificateSigningRequest: csr },
    1,
  );
  const parameters = { SerialNumber: serial };
  await ask(`$aws/provisioning-templates/pump/provision/${encoding}`, { certificateOwnershipToken, parameters }, 3);
  device.send(disconnect);
  await device.leave();
}

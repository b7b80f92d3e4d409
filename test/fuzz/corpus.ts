import { encode } from 'cborg';
import { makeDeviceKey } from '../../gateway-sim/device-key.ts';
import type { Random } from '../chaos/random.ts';
import { packet, text } from '../support/raw-mqtt.ts';

export const connectPacket = packet(0x10, text('MQTT'), Buffer.from([4, 2, 0, 60]), text('fuzz'));

export function publishPacket(topic: string, payload: Buffer, id: number): Buffer {
  return packet(0x32, text(topic), Buffer.from([id >> 8, id & 0xff]), payload);
}

/** Those of AWS IoT Fleet Provisioning. */
export const fleetTopics = ['json', 'cbor'].flatMap((form) =>
  ['certificates/create', 'certificates/create-from-csr', 'provisioning-templates/pump/provision'].map(
    (path) => `$aws/${path}/${form}`,
  ),
);

/** Valid conversations and payloads, to be mutated. */
export async function createCorpus() {
  const { csrPem } = await makeDeviceKey('FUZZ-1');
  const token = 'correct-horse-battery-staple';
  const parameters = { SerialNumber: 'FUZZ-1', RegistrationToken: token };
  const provision = { certificateOwnershipToken: 'A'.repeat(92), parameters: { SerialNumber: 'FUZZ-1' } };
  const small = { token, id: 'one', format: 'compact', rootCa: false, maxPacket: 128 };
  const messages = [
    ...[{ token }, { token, key: 'ec', id: 'one', format: 'der' }, { certificateId: '0'.repeat(64) }],
    ...[small, { ...small, format: 'der', part: 3 }, { token, maxPacket: 1024, part: 65_535 }],
    ...[provision, { ...provision, parameters }],
    { token, template: 'pump', parameters: provision.parameters },
    { ...small, key: 'ec', template: 'pump', parameters: { SerialNumber: 'FUZZ-1', Place: 'north' } },
  ];
  const requests = [
    { token, csr: csrPem },
    { token, csr: derOf(csrPem).toString('base64'), id: 'two' },
    { certificateSigningRequest: csrPem },
  ];
  const json = (message: object) => Buffer.from(JSON.stringify(message));
  const cbor = (message: object) => Buffer.from(encode(message));
  const plain = [...messages.map(json), ...messages.map(cbor)];
  const withCsr = [...requests.map(json), ...[...requests, { token, csr: derOf(csrPem), format: 'der' }].map(cbor)];
  const [request = Buffer.alloc(0)] = plain;
  const streams = [
    Buffer.concat([
      connectPacket,
      packet(0x82, Buffer.from([0, 1]), text('cvm/reply/FUZZ-1'), Buffer.from([1])),
      publishPacket('cvm/request/FUZZ-1', request, 2),
      packet(0xc0),
      packet(0xe0),
    ]),
    packet(0x10, text('MQTT'), Buffer.from([4, 0xc2, 0, 60]), text('id'), text('FUZZ-1'), text(token)),
    Buffer.concat([
      packet(0x10, text('MQTT'), Buffer.from([4, 0xc2, 0, 60]), text('id'), text('FUZZ-1?SDK=C'), text(token)),
      packet(0x82, Buffer.from([0, 1]), text('$aws/certificates/create/json/+'), Buffer.from([1])),
      publishPacket('$aws/certificates/create/cbor', Buffer.alloc(0), 2),
      publishPacket('$aws/certificates/create-from-csr/json', json({ certificateSigningRequest: csrPem }), 3),
      publishPacket('$aws/provisioning-templates/pump/provision/cbor', cbor(provision), 4),
    ]),
    packet(0x10, text('MQTT'), Buffer.from([4, 0xee, 0, 60]), text('id'), text('t'), text('m'), text('u'), text('p')),
    packet(0x10, text('MQIsdp'), Buffer.from([3, 2, 0, 60]), text('id')),
    Buffer.concat([
      connectPacket,
      packet(0xa2, Buffer.from([0, 3]), text('cvm/reply/FUZZ-1')),
      packet(0x40, Buffer.from([0, 1])),
    ]),
  ];
  /** `provision` on a connection that got this ownership token. */
  const registrations = (certificateOwnershipToken: string) =>
    [{ SerialNumber: 'FUZZ-1' }, parameters, { ...parameters, SerialNumber: '../FUZZ' }, {}].flatMap((each) =>
      [json, cbor].map((write) => write({ certificateOwnershipToken, parameters: each })),
    );
  return { plain, withCsr, streams, registrations };
}

function derOf(pem: string): Buffer {
  return Buffer.from(pem.replace(/-----[^-]+-----|\s/g, ''), 'base64');
}

const spice = [
  '__proto__',
  'constructor',
  '\0',
  '\ud800',
  '1e999',
  '[[[[[[',
  '-----BEGIN',
  '#',
  '+',
  '$share/',
  '{"token":',
  '\xbf\x9f',
];

/** Mutates bytes in one to eight places: flips, cuts, doubles, inserts, and values that have broken parsers before. */
export function mutate(original: Buffer, random: Random): Buffer {
  let bytes: Buffer = Buffer.from(original);
  const times = 1 + Math.floor(random.next() * 8);
  for (let count = 0; count < times; count++) {
    const at = Math.floor(random.next() * (bytes.length + 1));
    const length = Math.floor(random.next() * 16);
    const [head, tail] = [bytes.subarray(0, at), bytes.subarray(at)];
    bytes = random.pick<() => Buffer>([
      [4, () => flip(bytes, at, random)],
      [2, () => Buffer.concat([head, tail.subarray(length)])],
      [2, () => Buffer.concat([head, tail.subarray(0, length), tail])],
      [1, () => Buffer.concat([head, Buffer.from(Array.from({ length }, () => random.next() * 256)), tail])],
      [1, () => Buffer.concat([head, Buffer.from(spice[Math.floor(random.next() * spice.length)] ?? ''), tail])],
      [1, () => head],
    ])();
  }
  return bytes.subarray(0, 20_000);
}

function flip(bytes: Buffer, at: number, random: Random): Buffer {
  const changed = Buffer.from(bytes);
  if (at < changed.length)
    changed[at] = random.pick<number>([
      [2, (changed[at] ?? 0) ^ (1 << Math.floor(random.next() * 8))],
      [1, 0],
      [1, 255],
      [1, Math.floor(random.next() * 256)],
    ]);
  return changed;
}

import { encode } from 'cborg';
import { describe, expect, it } from 'vitest';
import { cvm } from '../../protocol/cvm/dialect.ts';
import type { OutgoingMessage } from '../../protocol/dialect.ts';
import type { Encoding } from '../../protocol/encoding.ts';
import { problems } from '../../protocol/problems.ts';

const ownershipToken = () => '';
const session = { serial: undefined, encoding: 'json' as Encoding, ownershipToken };
const read = (topic: string, payload: Uint8Array | string = '{}') => cvm.read(topic, Buffer.from(payload), session);
const certificateId = 'a'.repeat(64);

function inOnePacket(written: OutgoingMessage | undefined) {
  if (written === undefined || 'parts' in written) throw new Error('not in one packet');
  return written;
}

describe('what a device publishes', () => {
  it('is a request or an acknowledgement, by its topic, which names the serial', () => {
    expect(read('cvm/request/AA:BB', '{"token":"a-token-of-this-device","csr":"c","key":"ec"}')).toMatchObject({
      kind: 'request',
      serial: 'AA:BB',
      encoding: 'json',
      request: { token: 'a-token-of-this-device', csr: 'c', key: 'ec' },
    });
    expect(read('cvm/ack/AA:BB', encode({ certificateId }))).toMatchObject({
      kind: 'acknowledgement',
      serial: 'AA:BB',
      encoding: 'cbor',
      certificateId,
    });
  });

  it.each([
    ['cvm/request/S', '[]', 'must be a JSON object or a CBOR map'],
    ['cvm/request/S', Buffer.from([0x81, 1]), 'must be a JSON object or a CBOR map'],
    ['cvm/ack/S', '{"certificateId":"x"}', '64 hex digits'],
  ])('is unreadable where its payload is wrong, and is answered nevertheless: %s %s', (topic, payload, reason) => {
    const message = read(topic, payload);
    expect(message).toMatchObject({ kind: 'unreadable', serial: 'S' });
    expect(message).toMatchObject({ problem: { code: 'InvalidRequest', message: expect.stringContaining(reason) } });
  });

  it.each([
    'cvm/reply/S',
    'cvm/request',
    'cvm/request/',
    'cvm/request/S/more',
    'cvm/requestS',
    'CVM/request/S',
    '/cvm/request/S',
    '$SYS/x',
    'anything',
    'cvm/ack/',
    'cvm/ack/a/b',
  ])('is none of this dialect with another topic: %s', (topic) => {
    expect(read(topic)).toBeUndefined();
  });

  it('is told its topics in an error message', () => {
    expect(cvm.topics).toBe('cvm/request/<serial> and cvm/ack/<serial>');
  });
});

describe('what a device subscribes to', () => {
  it('is the reply topic of a serial', () => {
    expect(cvm.readFilter('cvm/reply/S', session)).toMatchObject({ serial: 'S' });
  });

  it.each([
    '#',
    '+/+/+',
    'cvm/#',
    '$SYS/#',
    '$share/g/cvm/reply/S',
    'cvm/request/S',
    'cvm/reply/S/',
    'cvm/reply/',
    'cvm/ack/S',
  ])('is none of this dialect with another filter: %s', (filter) => {
    expect(cvm.readFilter(filter, session)).toBeUndefined();
  });
});

describe('an answer', () => {
  const rejected = { status: 'rejected', problem: problems.blocked } as const;
  const write = (topic: string, payload: Uint8Array | string) => {
    const form = read(topic, payload)?.form;
    if (form === undefined) throw new Error('not read');
    return inOnePacket(cvm.write(rejected, form, session, 0));
  };

  it('goes to the reply topic of the serial that the message named, with its id and in its encoding', () => {
    const json = write('cvm/request/S', '{"id":"r-1"}');
    expect(json.topic).toBe('cvm/reply/S');
    expect(JSON.parse(json.payload.toString())).toMatchObject({ status: 'rejected', id: 'r-1' });
    expect(write('cvm/request/S', encode({ id: 'r-1' })).payload[0]).toBe(0xa5);
    expect(JSON.parse(write('cvm/request/S', '{"id":"r-1","token":5}').payload.toString())).toHaveProperty('id', 'r-1');
    expect(write('cvm/ack/S', '{}').topic).toBe('cvm/reply/S');
  });

  it.each<[Encoding, number]>([
    ['json', 0x7b],
    ['cbor', 0xa4],
  ])('to a connection that only subscribed is encoded as its latest message: %s', (encoding, firstByte) => {
    const form = cvm.readFilter('cvm/reply/S', session)?.copyForm;
    if (form === undefined) throw new Error('not read');
    const { topic, payload } = inOnePacket(cvm.write(rejected, form, { serial: 'S', encoding, ownershipToken }, 0));
    expect([topic, payload[0]]).toEqual(['cvm/reply/S', firstByte]);
  });
});

import { readFileSync } from 'node:fs';
import { decode, encode } from 'cborg';
import { describe, expect, it } from 'vitest';
import type { Answer } from '../../protocol/answer.ts';
import { cvm } from '../../protocol/cvm/dialect.ts';
import { type CvmAnswer, encodeReply } from '../../protocol/cvm/reply.ts';
import { defaultForm, parseRequest } from '../../protocol/cvm/request.ts';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import { problems } from '../../protocol/problems.ts';
import { golden, readGolden } from '../support/golden.ts';
import { credentialsOf, serial, time, token } from '../support/golden-credentials.ts';
import { publishOf } from '../support/raw-mqtt.ts';
import { emptyFlash, readSmall, takePart } from '../support/small-packets.ts';

const page = readFileSync('docs/protocol.md', 'utf8');
const section = page.slice(page.indexOf('\n## Small packets'), page.indexOf('\n## Acknowledgement'));

const { certificateId } = credentialsOf('ec');
const accepted: CvmAnswer = { status: 'accepted', credentials: credentialsOf('csr') };
const withKey: CvmAnswer = { status: 'accepted', credentials: credentialsOf('ec') };
const request = { token, id: '7', format: 'compact', rootCa: false, maxPacket: 128 };
const requestOf = (more: object = {}) => Buffer.from(encode({ ...request, ...more }));

/** This dialect has none. */
const ownershipToken = () => '';

function write(answer: Answer, maxPacket: number, payload: Buffer = requestOf({ maxPacket })) {
  const message = cvm.read(requestTopic(serial), payload, { serial, encoding: 'cbor', ownershipToken });
  if (message === undefined) throw new Error('not read');
  const written = cvm.write(answer, message.form, { serial, encoding: 'cbor', maxPacket, ownershipToken }, time * 1000);
  if (written === undefined) throw new Error('there is no room');
  return written;
}

/** The packets of an answer, as they go to the device. */
function packetsOf(answer: Answer, maxPacket: number, payload?: Buffer): Buffer[] {
  const written = write(answer, maxPacket, payload);
  if ('payload' in written) return [publishOf(written.topic, written.payload, { id: 1 })];
  const { topic, parts } = written;
  return Array.from({ length: parts.last + 1 }, (_, part) => publishOf(topic, parts.part(part), { id: part + 1 }));
}

const one = ([packet = Buffer.alloc(0)]: Buffer[]) => packet;
const pending: Answer = { status: 'pending', position: 412, etaSeconds: 43, retryAfterSeconds: 51 };
const unknown: Answer = { status: 'pending', position: 412, retryAfterSeconds: 95 };
const throttled: CvmAnswer = { status: 'rejected', problem: problems.tooManyMessages };
const wrongToken: CvmAnswer = { status: 'rejected', problem: problems.invalidToken };
const json = Buffer.from(JSON.stringify({ ...request, format: 'der' }));
const compactOf = (answer: CvmAnswer) => {
  const parsed = parseRequest(requestOf({ maxPacket: 4096 }));
  if (!parsed.ok) throw new Error('not read');
  return encodeReply(answer, parsed.request, time * 1000);
};

const messages: readonly (readonly [name: string, what: string, bytes: Buffer])[] = [
  ['request', 'PUBLISH cvm/request/AABBCCDDEE01, CBOR', publishOf(requestTopic(serial), requestOf(), { id: 1 })],
  ['request-json', 'PUBLISH cvm/request/AABBCCDDEE01, JSON', publishOf(requestTopic(serial), json, { id: 1 })],
  [
    'ask-again',
    'PUBLISH cvm/request/AABBCCDDEE01: from part 4 on',
    publishOf(requestTopic(serial), requestOf({ part: 4 }), { id: 2 }),
  ],
  ...packetsOf(accepted, 128).map(
    (packet, part) => [`part-${part}`, `PUBLISH cvm/reply/AABBCCDDEE01: part ${part}`, packet] as const,
  ),
  ['pending', 'PUBLISH cvm/reply/AABBCCDDEE01: pending', one(packetsOf(pending, 128))],
  ['pending-unknown', 'PUBLISH cvm/reply/AABBCCDDEE01: pending, nobody knows how long', one(packetsOf(unknown, 128))],
  ['rejected', 'PUBLISH cvm/reply/AABBCCDDEE01: rejected, wait for 10 s', one(packetsOf(throttled, 128))],
  ['rejected-for-good', 'PUBLISH cvm/reply/AABBCCDDEE01: rejected, for good', one(packetsOf(wrongToken, 128))],
  ['compact-accepted', 'the payload of an accepted reply, CBOR, compact, ec', compactOf(withKey)],
  ['compact-pending', 'the payload of a pending reply, CBOR, compact', compactOf(pending)],
  ['compact-rejected', 'the payload of a rejected reply, CBOR, compact', compactOf(throttled)],
  [
    'ack-bytes',
    'PUBLISH cvm/ack/AABBCCDDEE01, the id as bytes, CBOR',
    publishOf(`cvm/ack/${serial}`, Buffer.from(encode({ certificateId: Buffer.from(certificateId, 'hex') })), {
      id: 3,
    }),
  ],
];

describe('a message of small packets', () => {
  it.each(messages)('has the bytes that it always had: %s (%s)', (name, what, bytes) => {
    expect(bytes.toString('hex')).toBe(golden(`small-packets/${name}`, what, bytes).toString('hex'));
  });

  it('put together from its stored parts is the reply', () => {
    const flash = emptyFlash();
    const taken = Array.from({ length: 10 }, (_, part) => {
      const packet = readGolden(`small-packets/part-${part}`);
      expect(packet.length).toBeLessThanOrEqual(128);
      const message = readSmall(packet.subarray(2 + 2 + 22 + 2));
      return message && takePart(flash, message);
    }).at(-1);
    const { whole } = taken as { whole: Buffer };
    const reply = decode(whole, { useMaps: true }) as Map<number, unknown>;
    expect([reply.get(0), reply.get(1), reply.get(5)]).toEqual([1, '7', serial]);
    expect(Buffer.from(reply.get(2) as Uint8Array).toString('hex')).toBe(certificateId);
    expect(flash.head?.time).toBe(time);
  });

  it('is in the worked example of the page, with all its bytes', () => {
    const inPage = section.replace(/\s+/g, '');
    for (const name of ['part-0', 'part-1', 'part-9', 'pending', 'rejected']) {
      const [, , bytes = Buffer.alloc(0)] = messages.find(([each]) => each === name) ?? [];
      expect(inPage, `${name} ${bytes.toString('hex')}`).toContain(bytes.toString('hex'));
    }
  });
});

describe('the table of what parts cost', () => {
  const replies = [
    ['CBOR, compact, CSR, no `rootCa`', accepted, requestOf()],
    ['CBOR, DER, CSR, no `rootCa`', accepted, requestOf({ format: 'der' })],
    ['JSON, PEM, `ec`', withKey, Buffer.from(JSON.stringify({ id: '7' }))],
  ] as const;

  it('is what the packets have', () => {
    const rows = replies.map(([name, answer, payload]) => {
      const whole = one(packetsOf(answer, 8192, payload)).length;
      const cells = [128, 256, 512, 1024].map((maxPacket) => {
        const packets = packetsOf(answer, maxPacket, payload);
        for (const packet of packets) expect(packet.length).toBeLessThanOrEqual(maxPacket);
        const bytes = packets.reduce((sum, { length }) => sum + length, 0);
        return packets.length === 1 ? 'whole' : `${packets.length}, +${bytes - whole}`;
      });
      return `| ${name} | ${whole} | ${cells.join(' | ')} |`;
    });
    for (const row of rows) expect(section, rows.join('\n')).toContain(row);
  });
});

describe('the table of why small answers have fixed fields', () => {
  /** The longest code, no text, no id; and numbers as large as they become in a line of a hundred thousand. */
  const rejected: CvmAnswer = { status: 'rejected', problem: { ...problems.upstreamRefuses, message: '' } };
  const waiting: CvmAnswer = { status: 'pending', position: 100_000, etaSeconds: 86_400, retryAfterSeconds: 4500 };
  const forms = ['json', 'cbor'].map((encoding) => defaultForm(encoding as 'json' | 'cbor'));
  const compact = { ...defaultForm('cbor'), format: 'compact' } as const;
  /** what topic and header leave of 128 bytes, beside the serial */
  const room = 128 - 'cvm/reply/'.length - 6;

  it.each([
    ['`rejected`', rejected],
    ['`pending`', waiting],
  ] as const)('is what they would have: %s', (name, answer) => {
    const fixed =
      one(packetsOf(answer, 128, Buffer.from(encode({ maxPacket: 128 })))).length - 6 - `cvm/reply/${serial}`.length;
    const sizes = [...forms, compact].map((form) => encodeReply(answer, form, time * 1000).length);
    const row = `| ${name} | ${[...sizes, fixed].map((size) => `${size}, ${room - size}`).join(' | ')} |`;
    expect(section, row).toContain(row);
  });
});

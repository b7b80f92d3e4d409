import { decode } from 'cborg';
import { generate } from 'mqtt-packet';
import { describe, expect, it } from 'vitest';
import type { Answer } from '../../protocol/answer.ts';
import { cvm } from '../../protocol/cvm/dialect.ts';
import { smallRejected } from '../../protocol/cvm/small-packets.ts';
import { replyTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { payloadRoom } from '../../protocol/packet-size.ts';
import { problem, problems, statusCodes } from '../../protocol/problems.ts';
import { readSmall } from '../support/small-packets.ts';

const credentials = {
  certificateId: 'c'.repeat(64),
  certificatePem: 'p'.repeat(900),
  thingName: 'SN',
  endpoint: 'e',
  rootCaPem: 'r',
};
const accepted: Answer = { status: 'accepted', credentials };
const pending: Answer = { status: 'pending', position: 412, etaSeconds: 43, retryAfterSeconds: 51 };

/** This dialect has none. */
const ownershipToken = () => '';

const packetOf = (topic: string, payload: Buffer) =>
  generate({ cmd: 'publish', topic, payload, qos: 1, messageId: 1, dup: false, retain: false });

/** What is written to a device that asked so. */
function write(answer: Answer, request: object, serial = 'AABBCCDDEE01') {
  const message = cvm.read(requestTopic(serial), Buffer.from(JSON.stringify(request)), {
    serial,
    encoding: 'json',
    ownershipToken,
  });
  if (message === undefined) throw new Error('not read');
  const { kind, form, maxPacket } = message;
  const refused = kind === 'unreadable' ? message.problem : undefined;
  const session = { serial, encoding: 'json', maxPacket, ownershipToken } as const;
  const said: Answer = refused === undefined ? answer : { status: 'rejected', problem: refused };
  const written = cvm.write(said, form, session, 1_795_822_760_000);
  if (written === undefined) return { refused };
  const { topic } = written;
  if ('parts' in written) return { refused, topic, parts: written.parts };
  return { refused, topic, payload: written.payload, bytes: packetOf(topic, written.payload).length };
}

describe('the room for a payload', () => {
  it('is all that a packet of at most so many bytes has beside its header and topic, to the byte', () => {
    for (const length of [11, 22, 75, 138])
      for (const maxPacket of [128, 129, 130, 131, 132, 255, 256, 1024, 16_386, 16_387, 16_388, 16_389, 20_000]) {
        const topic = 't'.repeat(length);
        const room = payloadRoom(topic, maxPacket);
        if (room < 0) continue;
        expect(packetOf(topic, Buffer.alloc(room)).length, `${length} ${maxPacket}`).toBeLessThanOrEqual(maxPacket);
        expect(packetOf(topic, Buffer.alloc(room + 1)).length, `${length} ${maxPacket}`).toBeGreaterThan(maxPacket);
      }
  });
});

describe('maxPacket', () => {
  it.each([
    [127, '"maxPacket" is at least 128'],
    [1, '"maxPacket" is at least 128'],
    [-1, '"maxPacket" is at least 128'],
    [268_435_456, '"maxPacket" is at most 268435455'],
    [200.5, '"maxPacket" must be a whole number'],
    ['256', '"maxPacket" must be a whole number'],
  ])('is from 128 to 268435455, otherwise the request is refused with words that fit: %s', (maxPacket, words) => {
    const { refused, payload, bytes = 0 } = write(accepted, { maxPacket });
    expect(refused).toEqual(problem('InvalidRequest', words));
    if (typeof maxPacket !== 'number' || maxPacket > 1000) return;
    expect(readSmall(payload as Buffer)).toMatchObject({ statusCode: 400, errorCode: 'InvalidRequest' });
    expect(bytes).toBeLessThanOrEqual(Math.max(128, maxPacket));
  });

  it.each([128, 268_435_455])('may be %i', (maxPacket) => {
    expect(write(accepted, { maxPacket }).refused).toBeUndefined();
  });

  it('leaves a reply as it is where it fits, with its time', () => {
    const whole = write(accepted, {});
    const { bytes = 0, payload } = write(accepted, { maxPacket: whole.bytes });
    expect([bytes, payload]).toEqual([whole.bytes, whole.payload]);
    const small = write(accepted, { maxPacket: bytes - 1 });
    expect([small.payload, small.parts?.last]).toEqual([undefined, 1]);
  });

  it('is also honoured where another field of the request is wrong', () => {
    const { payload, bytes } = write(accepted, { maxPacket: 128, key: 'dsa', id: '7' });
    expect(bytes).toBeLessThanOrEqual(128);
    expect(readSmall(payload as Buffer)).toMatchObject({ errorCode: 'InvalidRequest', id: '7' });
  });

  it('of 128 is enough for serials of 67 characters; for a longer one it is 62 more than that has, or less', () => {
    for (let length = 1; length <= 128; length++) {
      const serial = 'S'.repeat(length);
      // from 130 bytes on the remaining length takes two
      const least = length <= 67 ? 128 : length === 68 ? 129 : length + 62;
      expect(write(accepted, { maxPacket: least }, serial).refused).toBeUndefined();
      if (least === 128) continue;
      const { refused } = write(accepted, { maxPacket: least - 1 }, serial);
      expect(refused).toEqual(problem('InvalidRequest', `${least} bytes are needed in a packet for this serial`));
    }
  });

  it('that is too small for the serial is refused in a packet of that size, and not answered where none can be', () => {
    for (let length = 68; length <= 128; length++) {
      const { bytes, payload } = write(accepted, { maxPacket: 128 }, 'S'.repeat(length));
      expect(payload === undefined, String(length)).toBe(length > 89);
      if (payload === undefined) continue;
      expect(bytes).toBeLessThanOrEqual(128);
      // the size that it needs, whole, as long as there is room for three digits
      const least = length === 68 ? 129 : length + 62;
      const errorMessage = expect.stringMatching(length > 86 ? /^$/ : new RegExp(`^${least}( |$)`));
      expect(readSmall(payload)).toMatchObject({ statusCode: 400, errorCode: 'InvalidRequest', errorMessage });
    }
  });
});

const everyProblem = [
  ...Object.values(problems),
  ...Object.keys(statusCodes).map((code) => problem(code as keyof typeof statusCodes, 'why '.repeat(200), 86_400)),
];

describe('a rejection and a notice', () => {
  it.each([128, 129, 130, 200, 256, 511])(
    'in packets of %i bytes has fixed fields, always the code and the id, and as much of the text as there is room for',
    (maxPacket) => {
      for (const { code, message, retryAfterSeconds } of everyProblem)
        for (const id of ['', '7', 'i'.repeat(36)]) {
          const rejected: Answer = {
            status: 'rejected',
            problem: { code, message, ...(retryAfterSeconds === undefined ? {} : { retryAfterSeconds }) },
          };
          const { payload = Buffer.alloc(0), bytes } = write(rejected, id === '' ? { maxPacket } : { maxPacket, id });
          const read = readSmall(payload);
          expect(bytes).toBeLessThanOrEqual(maxPacket);
          expect(read).toMatchObject({ statusCode: statusCodes[code], errorCode: code, id });
          expect(read).toMatchObject({ retryAfter: retryAfterSeconds ?? 0 });
          const { errorMessage } = read as { errorMessage: string };
          expect(message.startsWith(errorMessage)).toBe(true);
          if (errorMessage !== message) expect(bytes).toBeGreaterThanOrEqual(maxPacket - 1);
        }
    },
  );

  it('leaves out an id that does not fit beside a long serial, never the code', () => {
    const serial = 'S'.repeat(67);
    const rejected: Answer = { status: 'rejected', problem: problems.upstreamRefuses };
    const { payload = Buffer.alloc(0) } = write(rejected, { maxPacket: 128, id: 'i'.repeat(36) }, serial);
    expect(readSmall(payload)).toMatchObject({ statusCode: 503, errorCode: 'UpstreamUnavailable', id: '' });
    const notice = write(pending, { maxPacket: 128, id: 'i'.repeat(36) }, serial);
    expect(readSmall(notice.payload as Buffer)).toMatchObject({
      position: 412,
      etaSeconds: 43,
      retryAfter: 51,
      id: '',
    });
  });

  it('cuts an id or a text of several bytes for a character at a character', () => {
    const id = '€'.repeat(20);
    const rejected: Answer = { status: 'rejected', problem: problem('Throttled', '€'.repeat(40)) };
    const { payload = Buffer.alloc(0), bytes } = write(rejected, { maxPacket: 128, id });
    const read = readSmall(payload) as { errorMessage: string };
    expect([bytes, read]).toEqual([127, expect.objectContaining({ id, errorMessage: '€'.repeat(7) })]);
  });

  it('has a number of its text whole or not at all', () => {
    for (let bytes = 0; bytes < 40; bytes++) {
      const small = smallRejected(
        { statusCode: 413, errorCode: 'PayloadTooLarge', message: 'it has 9062 bytes' },
        '',
        24 + bytes,
      );
      // behind the fields and the code, and an id of no characters
      expect(small?.subarray(24).toString()).toMatch(/^(i|it|it |it h|it ha|it has|it has |it has 9062.*)?$/);
    }
  });

  it('says 0 where there is no estimate', () => {
    const notice: Answer = { status: 'pending', position: 9, retryAfterSeconds: 60 };
    const { payload = Buffer.alloc(0) } = write(notice, { maxPacket: 128, id: '7' });
    expect(readSmall(payload)).toEqual({ type: 'pending', position: 9, etaSeconds: 0, retryAfter: 60, id: '7' });
  });

  it.each(['json', 'cbor'])(
    'from 512 bytes on is %s, whatever serial and id are, with a text that fits',
    (encoding) => {
      const session = { serial: undefined, encoding: 'json', maxPacket: 512, ownershipToken } as const;
      for (const { code, message, retryAfterSeconds = 86_400 } of everyProblem)
        for (const id of ['7', '\u0001'.repeat(36), '€'.repeat(36)]) {
          const serial = 'S'.repeat(128);
          const message_ = cvm.read(requestTopic(serial), Buffer.from(JSON.stringify({ id })), session);
          const form = message_?.form as { fields: object; topic: string };
          const fields = { ...form.fields, encoding };
          const rejected: Answer = { status: 'rejected', problem: { code, message, retryAfterSeconds } };
          const written = cvm.write(rejected, { ...form, fields } as never, session, 0);
          if (written === undefined || 'parts' in written) throw new Error('not in one packet');
          expect(packetOf(replyTopic(serial), written.payload).length).toBeLessThanOrEqual(512);
          const read = (
            encoding === 'json' ? JSON.parse(written.payload.toString()) : decode(written.payload)
          ) as object;
          expect(read).toMatchObject({ status: 'rejected', id, statusCode: statusCodes[code], errorCode: code });
          expect(message.startsWith((read as { errorMessage: string }).errorMessage)).toBe(true);
        }
    },
  );
});

describe('the parts of a reply', () => {
  it('are the same bytes whenever they are asked for; only the time in part 0 is another', () => {
    const { parts } = write(accepted, { maxPacket: 128, id: '7' });
    const again = write(accepted, { maxPacket: 128, id: '7', part: 3 });
    expect([again.parts?.digest, again.parts?.first, again.parts?.last]).toEqual([parts?.digest, 3, parts?.last]);
    expect(again.parts?.part(3)).toEqual(parts?.part(3));
  });

  it('begin with part 0 where a device asks for one after the last: it has begun with another reply, which was longer', () => {
    const last = write(accepted, { maxPacket: 128 }).parts?.last ?? 0;
    expect(write(accepted, { maxPacket: 128, part: last }).parts?.first).toBe(last);
    expect(write(accepted, { maxPacket: 128, part: last + 1 }).parts?.first).toBe(0);
  });

  it.each([-1, 1.5, 65_536, '1', null])('are named by whole numbers from 0: %s is refused', (part) => {
    const { refused } = write(accepted, { maxPacket: 128, part });
    expect(refused).toEqual(problem('InvalidRequest', '"part" must be the number of a part, 0 to 65535'));
  });
});

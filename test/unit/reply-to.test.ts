import { describe, expect, it } from 'vitest';
import { publish } from '../../broker/mqtt5/sent.ts';
import { addressed, isReplyTopicOf, viewFor, withReplyTo } from '../../broker/reply-to.ts';
import type { Answer } from '../../protocol/answer.ts';
import { cvm } from '../../protocol/cvm/dialect.ts';
import type { Dialect, OutgoingMessage, ReplyForm, SessionView } from '../../protocol/dialect.ts';
import { fleetProvisioning } from '../../protocol/fleet-provisioning/dialect.ts';
import { problems } from '../../protocol/problems.ts';
import { emptyFlash, readSmall, takePart } from '../support/small-packets.ts';

const session = { serial: 'S', encoding: 'json', isMqtt5: true, ownershipToken: () => 'owned' } as const;
const rejected = { status: 'rejected', problem: problems.blocked } as const;
const pending = { status: 'pending', position: 3, retryAfterSeconds: 40 } as const;
const pem = `-----BEGIN CERTIFICATE-----\n${'QUJD'.repeat(200)}\n-----END CERTIFICATE-----\n`;
const accepted: Answer = {
  status: 'accepted',
  credentials: {
    ...{ certificateId: 'a'.repeat(64), certificatePem: pem },
    ...{ thingName: 'S', endpoint: 'x.iot.example', rootCaPem: pem },
  },
};
const dialect = withReplyTo(cvm as Dialect);
const formOf = (payload = '{}') => cvm.read('cvm/request/S', Buffer.from(payload), session)?.form;

/** One packet. */
function writeWhole(answer: Answer, form: ReplyForm, view: SessionView = session) {
  const written = dialect.write(answer, form, view, 0);
  if (written === undefined || 'parts' in written) throw new Error('it is not one packet');
  return written;
}

describe('an answer', () => {
  it('goes to the reply topic, and without properties, where its request said nothing of it', () => {
    const { topic, properties } = writeWhole(rejected, addressed(formOf(), {}));
    expect([topic, properties?.correlationData, properties?.expirySeconds]).toEqual([
      'cvm/reply/S',
      undefined,
      undefined,
    ]);
  });

  it('goes to the Response Topic of its request with its Correlation Data, and is the same otherwise', () => {
    const form = addressed(formOf('{"id":"1"}'), { topic: 'cvm/reply/S/x', correlationData: Buffer.from('c') });
    const { topic, payload, properties } = writeWhole(rejected, form);
    expect([topic, properties?.correlationData]).toEqual(['cvm/reply/S/x', Buffer.from('c')]);
    expect(payload).toEqual(writeWhole(rejected, formOf('{"id":"1"}')).payload);
  });

  it('that says how long to wait expires when the device should have asked again', () => {
    for (const replyTo of [{}, { correlationData: Buffer.from('c') }])
      expect(writeWhole(pending, addressed(formOf(), replyTo)).properties?.expirySeconds).toBe(40);
  });

  it('that says how long to wait is left out, or ends the wait, as the dialect says, wherever it goes', () => {
    for (const replyTo of [{}, { topic: 'cvm/reply/S/x' }]) {
      expect(dialect.whenPending(addressed(formOf(), replyTo), pending)).toBe('tell');
      expect(dialect.whenPending(addressed(formOf('{"pending":false}'), replyTo), pending)).toBe('say-nothing');
      const fleet = withReplyTo(fleetProvisioning as Dialect);
      const asked = fleet.read('$aws/certificates/create/json', Buffer.from('{}'), session)?.form;
      expect(fleet.whenPending(addressed(asked, replyTo), pending)).toBe('end');
    }
  });
});

describe('an answer for a client with a Maximum Packet Size', () => {
  const replyTos = [
    {},
    { correlationData: Buffer.alloc(9) },
    { topic: 'cvm/reply/S/below/it', correlationData: Buffer.alloc(16) },
  ];
  const sizeOf = ({ topic, properties = {} }: OutgoingMessage, payload: Buffer) =>
    publish(0x32, topic, 1, payload, properties).length;

  it('comes in parts that fit exactly, all with topic and Correlation Data', () => {
    // around the sizes at which the remaining length takes a byte more
    for (const maxPacket of [126, 127, 128, 129, 130, 131, 132, 140, 150, 256])
      for (const replyTo of replyTos) {
        const written = dialect.write(accepted, addressed(formOf(), replyTo), { ...session, maxPacket }, 0);
        if (written === undefined || !('parts' in written)) throw new Error('it has no parts');
        expect(written.topic).toBe(replyTo.topic ?? 'cvm/reply/S');
        expect(written.properties?.correlationData).toEqual(replyTo.correlationData);
        const [flash, { parts }] = [emptyFlash(), written];
        let whole: unknown;
        for (let number = 0; number <= parts.last; number++) {
          const part = parts.part(number);
          expect(sizeOf(written, part)).toBeLessThanOrEqual(maxPacket);
          const message = readSmall(part);
          whole = message && takePart(flash, message);
        }
        expect(whole).toMatchObject({ whole: expect.any(Buffer) });
        // a byte more would not have fitted
        const longer = Buffer.concat([parts.part(1), Buffer.alloc(1)]);
        expect(sizeOf(written, longer)).toBeGreaterThan(maxPacket);
      }
  });

  it('is shortened so far that it fits, properties included', () => {
    for (const maxPacket of [90, 127, 128, 129, 130, 131, 140, 520])
      for (const replyTo of replyTos)
        for (const answer of [rejected, pending]) {
          const written = writeWhole(answer, addressed(formOf(), replyTo), { ...session, maxPacket });
          expect(sizeOf(written, written.payload)).toBeLessThanOrEqual(maxPacket);
        }
  });

  it('has the room of the whole packet where the device speaks MQTT 3.1.1', () => {
    const older = { ...session, isMqtt5: false, maxPacket: 128 };
    const written = dialect.write(accepted, formOf(), older, 0);
    const [five] = [dialect.write(accepted, formOf(), { ...session, maxPacket: 128 }, 0)];
    if (!written || !five || !('parts' in written) || !('parts' in five)) throw new Error('they have no parts');
    expect(written.parts.part(1).length - five.parts.part(1).length).toBe(1);
  });

  it('is refused at once where no part would fit, with the size that it needs', () => {
    const replyTo = { correlationData: Buffer.alloc(40) };
    const read = (maxPacket: number) =>
      dialect.read('cvm/request/S', Buffer.from('{}'), viewFor({ ...session, maxPacket }, replyTo));
    const refused = read(100);
    if (refused?.kind !== 'unreadable') throw new Error('it is not refused');
    const least = Number(/^(\d+) bytes/.exec(refused.problem.message)?.[1]);
    expect([read(least)?.kind, read(least - 1)?.kind]).toEqual(['request', 'unreadable']);
  });
});

describe('a Response Topic', () => {
  it.each(['cvm/reply/S', 'cvm/reply/S/x', 'cvm/reply/S/x/y'])('of the device: %s', (topic) => {
    expect(isReplyTopicOf(topic, 'S', dialect, session)).toBe(true);
  });

  it.each([
    'cvm/reply/T',
    'cvm/reply/T/S',
    'cvm/reply/S/',
    'cvm/reply/S/+',
    'cvm/request/S',
    'cvm/reply/',
    'S',
    '$SYS/x',
    '',
  ])('that is none of the device: %s', (topic) => {
    expect(isReplyTopicOf(topic, 'S', dialect, session)).toBe(false);
  });
});

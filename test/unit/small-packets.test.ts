import { createHash, randomBytes } from 'node:crypto';
import type { Client } from 'aedes';
import { encode } from 'cborg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Answer } from '../../protocol/answer.ts';
import { encodeReply } from '../../protocol/cvm/reply.ts';
import { parseRequest } from '../../protocol/cvm/request.ts';
import { replyTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { type ProvisioningRequest, recipientIdOf, requestKeyOf } from '../../queue/provisioning-request.ts';
import { sealer } from '../../sealing/replies.ts';
import { seeded } from '../chaos/random.ts';
import { clientOf, connectOf, hooksOf, publication } from '../support/hooks.ts';
import { publishOf } from '../support/raw-mqtt.ts';
import { sized } from '../support/size.ts';
import { assemble } from '../support/small-device.ts';

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:_-';
const pem = (bytes: number) =>
  `-----BEGIN CERTIFICATE-----\n${randomBytes(bytes).toString('base64').replace(/.{64}/g, '$&\n')}\n-----END CERTIFICATE-----\n`;

type Draw = () => number;
const upTo = (draw: Draw, from: number, to: number) => from + Math.floor(draw() * (to - from + 1));
const oneOf = <T>(draw: Draw, ...from: readonly T[]): T => from[Math.floor(draw() * from.length)] as T;

/** A device, the request that it makes, and the answer that it must end with. */
function randomDevice(draw: Draw, maxPacket: number, number: number) {
  const longest = Math.min(128, maxPacket - 62);
  const tail = `-${number}`;
  const serial =
    Array.from({ length: upTo(draw, 1, longest) - tail.length }, () => alphabet[upTo(draw, 0, 64)]).join('') + tail;
  const format = oneOf(draw, 'pem', 'der', 'compact');
  const encoding = format === 'compact' ? 'cbor' : oneOf(draw, 'json', 'cbor');
  const request = {
    token: `the-token-of-${number}-${randomBytes(12).toString('hex')}`,
    ...(draw() < 0.5 ? { id: 'i'.repeat(upTo(draw, 1, 36)) } : {}),
    ...{ format, rootCa: draw() < 0.5, maxPacket },
  };
  const certificatePem = pem(upTo(draw, 400, 900));
  const answer: Answer = {
    status: 'accepted',
    credentials: {
      certificateId: createHash('sha256').update(certificatePem).digest('hex'),
      certificatePem,
      ...(draw() < 0.5 ? { privateKeyPem: pem(upTo(draw, 138, 1200)) } : {}),
      thingName: serial,
      endpoint: 'a1b2c3d4e5f6g7-ats.iot.eu-west-1.amazonaws.com',
      rootCaPem: pem(838),
    },
  };
  const payloadOf = (part: number) => {
    const body = part === 0 ? request : { ...request, part };
    return encoding === 'json' ? Buffer.from(JSON.stringify(body)) : Buffer.from(encode(body));
  };
  const parsed = parseRequest(payloadOf(0));
  if (!parsed.ok) throw new Error(parsed.problem.message);
  const wholeAt = (now?: number) => encodeReply(answer, parsed.request, now);
  return { serial, answer, payloadOf, wholeAt };
}

type RandomDevice = ReturnType<typeof randomDevice>;

describe('a reply in parts', () => {
  const answers = new Map<string, Answer>();
  let broker: ReturnType<typeof hooksOf>;
  beforeAll(() => {
    broker = hooksOf({
      requests: {
        async add(request: ProvisioningRequest) {
          const { requestId, serial, tokenHash, replyKey } = request;
          const recipientId = recipientIdOf(serial, tokenHash);
          const sealed = sealer.answer(replyKey, recipientId, answers.get(serial) as Answer);
          const requestKey = requestKeyOf(request);
          setImmediate(() => broker.announce({ requestId, requestKey, recipientId, sealed }));
          return { requestId, requestKey };
        },
      },
    });
  });
  afterAll(() => broker.close());

  /** One connection of a device at the hooks of the broker. `broken` gets the promises about its packets that do not hold. */
  async function connectTo(
    { device, maxPacket, broken }: { device: RandomDevice; maxPacket: number; broken: Set<string> },
    heard: (payload: Buffer, ack: () => void) => void,
  ) {
    const topic = replyTopic(device.serial);
    // messages that may come: one for each part that was asked for, and for each acknowledgement of the part that came last
    let expected = 0;
    let lastId: number | undefined;
    // nothing is thrown here: it would be taken for a connection that cannot be written to, and the device would ask again
    const client: Client = clientOf((packet, done) => {
      const forwarded = broker.hooks.authorizeForward(client, packet);
      const payload = packet.payload as Buffer;
      const bytes = publishOf(topic, payload).length;
      if (forwarded !== packet) broken.add('a packet that is not for it');
      if (packet.topic !== topic || packet.qos !== 1) broken.add(`on ${packet.topic}, with QoS ${packet.qos}`);
      if (bytes > maxPacket) broken.add(`a packet of ${bytes} bytes, of at most ${maxPacket}`);
      if (expected === 0)
        broken.add(`a part before the one before it was acknowledged: ${payload.toString('hex', 0, 3)}`);
      expected = Math.max(0, expected - 1);
      const messageId = packet.messageId as number;
      lastId = messageId;
      const acknowledge = () => {
        if (messageId === lastId) expected++;
        broker.hooks.acknowledged(client, messageId);
      };
      setImmediate(() => heard(payload, acknowledge));
      done();
    });
    await new Promise<void>((resolve) => broker.hooks.preConnect(client, connectOf(), () => resolve()));
    return {
      ask(part: number): void {
        const packet = publication({ topic: requestTopic(device.serial), payload: device.payloadOf(part) });
        expected++;
        broker.hooks.authorizePublish(client, packet, () => {});
      },
      close: () => (client.conn as unknown as { emit(event: string): void }).emit('close'),
    };
  }

  const trouble = { lost: 0.03, unheard: 0.02, twice: 0.05, late: 0.05, broken: 0.03 };

  it.each([128, 256, 512, 1024])(
    'comes whole to each of many devices, in packets of at most %i bytes, one at a time, whatever is lost, doubled, late or cut off',
    { timeout: 600_000 },
    async (maxPacket) => {
      const random = seeded(maxPacket);
      const devices = Array.from({ length: sized(1000, 50) }, (_, number) =>
        randomDevice(random.next, maxPacket, number),
      );
      const [asks, connections, broken] = [[] as number[], [] as number[], new Set<string>()];
      const serve = async (device: RandomDevice) => {
        answers.set(device.serial, device.answer);
        const connect = (heard: (payload: Buffer, ack: () => void) => void) =>
          connectTo({ device, maxPacket, broken }, heard);
        const got = await assemble({ connect, random: random.next, trouble, idleMs: 100 });
        // in one packet where it fits: with the time of this second or of one before
        const times = got.head === undefined ? [0, 1, 2, 3].map((ago) => Date.now() - ago * 1000) : [undefined];
        expect(times.map((time) => device.wholeAt(time).toString('hex'))).toContain(got.whole.toString('hex'));
        asks.push(got.asks);
        connections.push(got.connections);
      };
      const lanes = Array.from({ length: 50 }, async () => {
        for (let device = devices.pop(); device !== undefined; device = devices.pop()) await serve(device);
      });
      await Promise.all(lanes);
      expect([...broken]).toEqual([]);
      // the trouble was there
      expect(Math.max(...asks)).toBeGreaterThan(1);
      expect(Math.max(...connections)).toBeGreaterThan(1);
    },
  );
});

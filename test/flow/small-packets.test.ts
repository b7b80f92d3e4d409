import { createPrivateKey, X509Certificate } from 'node:crypto';
import { decode } from 'cborg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeDeviceKey } from '../../gateway-sim/device-key.ts';
import { replyTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { readPayload } from '../../protocol/encoding.ts';
import { seeded } from '../chaos/random.ts';
import { askOnce } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { connectRaw, connectWith, packet, publishOf, type RawPacket, text } from '../support/raw-mqtt.ts';
import { assemble, noTrouble, type Trouble } from '../support/small-device.ts';
import { connectSmall, pubackOf, readPublish, wholeBytes } from '../support/small-link.ts';
import { readSmall } from '../support/small-packets.ts';

const quiet = (ms = 300) => new Promise((resolve) => setTimeout(resolve, ms));
const [publish, puback] = [3, 4];

describe.skipIf(lacks('redis-server'))('a device with small packets', () => {
  let gateway: Gateway;
  let other: Awaited<ReturnType<Gateway['startOneBroker']>>;
  beforeAll(async () => {
    gateway = await startGateway();
    other = await gateway.startOneBroker();
  });
  afterAll(() => gateway?.close());

  const fields = (whole: Buffer): Record<string, unknown> => {
    const read = readPayload(whole);
    if ('fault' in read) throw new Error(read.fault);
    return read.value as Record<string, unknown>;
  };

  /** A device that puts its reply together, changing brokers with its connections; and all packets that it got. */
  async function provision(
    device: { serial: string; token: string; request: object; encoding: 'json' | 'cbor' },
    trouble: Trouble = noTrouble,
  ) {
    const packets: RawPacket[][] = [];
    let links = 0;
    const got = await assemble({
      async connect(heard) {
        const link = await connectSmall(links++ % 2 === 0 ? gateway.broker : other, device, heard);
        packets.push(link.packets);
        return link;
      },
      // where nothing is lost, a slow answer is no reason to ask again
      ...{ random: seeded(links + device.serial.length).next, trouble, idleMs: trouble === noTrouble ? 45_000 : 2000 },
    });
    return { ...got, packets: packets.flat() };
  }

  it.each([
    [128, 'json', { key: 'ec' }],
    [256, 'json', { key: 'rsa', format: 'der', id: 'mine' }],
    [512, 'cbor', { key: 'ec', format: 'der', rootCa: false }],
    [1024, 'json', { key: 'ec' }],
  ] as const)('gets its certificate in packets of at most %i bytes: %s %o', async (maxPacket, encoding, asked) => {
    const { serial, token } = await gateway.enrolOnRoster(`SMALL-${maxPacket}`);
    const got = await provision({ serial, token, encoding, request: { ...asked, maxPacket, pending: false } });
    for (const each of got.packets) expect(wholeBytes(each)).toBeLessThanOrEqual(maxPacket);
    expect(got.packets.filter(({ type }) => type === publish).length).toBe((got.head?.count ?? 0) + 1);
    const whole = await askOnce(gateway.broker, serial, { ...asked, token });
    const { certificateId, certificatePem, thingName, endpoint, privateKey, id } = fields(got.whole);
    expect([certificateId, thingName, endpoint, id]).toEqual([
      whole.certificateId,
      serial,
      whole.endpoint,
      (asked as { id?: string }).id,
    ]);
    if (encoding === 'json') expect([certificatePem, privateKey]).toEqual([whole.certificatePem, whole.privateKey]);
    expect(Math.abs((got.head?.time ?? 0) - Date.now() / 1000)).toBeLessThan(60);
  });

  it('gets a compact reply for its CSR, and acknowledges by the bytes of the id', async () => {
    const { serial, token } = await gateway.enrolOnRoster('SMALL-COMPACT');
    const { csrPem, privateKey } = await makeDeviceKey(serial);
    const csr = Buffer.from(csrPem.replace(/-----[^-]+-----|\s/g, ''), 'base64');
    const request = { csr, format: 'compact', rootCa: false, maxPacket: 128, id: '1' };
    const got = await provision({ serial, token, encoding: 'cbor', request });
    const reply = decode(got.whole, { useMaps: true }) as Map<number, unknown>;
    const certificate = new X509Certificate(Buffer.from(reply.get(3) as Uint8Array));
    expect(certificate.checkPrivateKey(createPrivateKey(privateKey.export({ type: 'pkcs8', format: 'pem' })))).toBe(
      true,
    );
    expect([reply.get(0), reply.get(1), reply.get(5), reply.has(7)]).toEqual([1, '1', serial, false]);
    const raw = await connectRaw(gateway.broker);
    raw.send(connectWith(serial, { flags: 0xc2, payload: [text(serial), text(token)] }));
    // {"certificateId": h'…'}
    const id = Buffer.from(reply.get(2) as Uint8Array);
    raw.send(
      publishOf(
        `cvm/ack/${serial}`,
        Buffer.concat([Buffer.from('a16d', 'hex'), Buffer.from('certificateId'), Buffer.from('5820', 'hex'), id]),
      ),
    );
    await raw.next(puback);
    await expect.poll(async () => (await gateway.registry.find(serial))?.deliveredAt).toBeDefined();
    raw.socket.destroy();
  });

  it('gets it whatever is lost, doubled or late, and over connections to another broker when one breaks', async () => {
    const { serial, token } = await gateway.enrolOnRoster('SMALL-TROUBLE');
    const trouble = { lost: 0.05, unheard: 0, twice: 0.1, late: 0.1, broken: 0.1 };
    const got = await provision({ serial, token, encoding: 'json', request: { key: 'ec', maxPacket: 256 } }, trouble);
    expect(got.connections).toBeGreaterThan(1);
    for (const each of got.packets) expect(wholeBytes(each)).toBeLessThanOrEqual(256);
    const { certificateId } = await askOnce(gateway.broker, serial, { token, key: 'ec' });
    expect(fields(got.whole)).toMatchObject({ status: 'accepted', certificateId });
  });

  /** A connection that acknowledges nothing by itself. */
  async function connectAndAsk(serial: string, token: string, request: object, qos?: 0 | 1) {
    const raw = await connectRaw(gateway.broker);
    raw.send(connectWith(serial, { flags: 0xc2, payload: [text(serial), text(token)] }));
    if (qos !== undefined) raw.send(packet(0x82, Buffer.from([0, 1]), text(replyTopic(serial)), Buffer.from([qos])));
    raw.send(publishOf(requestTopic(serial), JSON.stringify({ pending: false, ...request })));
    const messages = () => raw.heard.filter(({ type }) => type === publish).map(readPublish);
    const kinds = () => messages().map(({ payload }) => (payload[0] === 2 ? payload.readUInt16BE(1) : 0));
    return { ...raw, messages, kinds };
  }

  it('holds one part at a time: the next one comes when it has acknowledged the one before', async () => {
    const { serial, token } = await gateway.enrolOnRoster('SMALL-SLOW');
    const device = await connectAndAsk(serial, token, { key: 'ec', maxPacket: 128 });
    for (const parts of [[0], [0, 1], [0, 1, 2]]) {
      await expect.poll(device.kinds).toEqual(parts);
      await quiet(100);
      // nor by the acknowledgement of another message
      device.send(pubackOf(4711));
      await quiet(100);
      expect(device.kinds()).toEqual(parts);
      device.send(pubackOf(device.messages().at(-1)?.id ?? 0));
    }
    // another one is asked for while the one before is not acknowledged
    await expect.poll(device.kinds).toEqual([0, 1, 2, 3]);
    device.send(publishOf(requestTopic(serial), JSON.stringify({ key: 'ec', maxPacket: 128, part: 2 }), { id: 9 }));
    await expect.poll(device.kinds).toEqual([0, 1, 2, 3, 2]);
    device.socket.destroy();
  });

  it('that subscribed with QoS 0 gets them one after the other, since it acknowledges none', async () => {
    const { serial, token } = await gateway.enrolOnRoster('SMALL-QOS-0');
    const device = await connectAndAsk(serial, token, { key: 'ec', maxPacket: 1024 }, 0);
    await expect.poll(device.kinds).toEqual([0, 1, 2, 3]);
    expect(device.messages().every(({ id }) => id === undefined)).toBe(true);
    device.socket.destroy();
  });

  it('reads why it is rejected, with the code always, and an operator why a serial is too long for its packets', async () => {
    const wrong = await connectAndAsk('SMALL-WRONG', 'a-token-of-no-device-at-all', { maxPacket: 128, id: '7' });
    await expect.poll(wrong.messages).toHaveLength(1);
    const [{ payload = Buffer.alloc(0) } = {}] = wrong.messages();
    expect(readSmall(payload)).toMatchObject({ type: 'rejected', statusCode: 401, errorCode: 'InvalidToken', id: '7' });
    for (const each of wrong.heard) expect(wholeBytes(each)).toBeLessThanOrEqual(128);
    // on the same connection, for what names no maxPacket
    wrong.send(
      publishOf(requestTopic('SMALL-WRONG'), '{', { id: 8 }),
      publishOf('cvm/ack/SMALL-WRONG', '{}', { id: 9 }),
    );
    await expect.poll(wrong.messages).toHaveLength(3);
    for (const each of wrong.heard) expect(wholeBytes(each)).toBeLessThanOrEqual(128);
    wrong.socket.destroy();

    const tooLong = 'S'.repeat(128);
    const device = await connectAndAsk(tooLong, 'a-token-of-no-device-at-all', { maxPacket: 128 });
    await device.closed;
    expect(device.heard.map(({ type }) => type)).toEqual([2]);
    await expect.poll(() => gateway.logText()).toContain('no answer fits into packets of 128 bytes beside its topic');
  });
});

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { Redis } from 'ioredis';
import type { IClientOptions, IPublishPacket } from 'mqtt';
import { type IConnackPacket, type Packet, parser } from 'mqtt-packet';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ackTopic, replyTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { connectOnce } from '../../runtime/mqtt-connect.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { connectRaw, packet, type RawPacket, text } from '../support/raw-mqtt.ts';
import { emptyFlash, readSmall, takePart } from '../support/small-packets.ts';

const run = promisify(execFile);
const patience = { timeout: 45_000 };

/** A device with MQTT.js at version 5, and each PUBLISH that it gets. */
async function connect5({ port, caPem }: Gateway['broker'], options: IClientOptions = {}) {
  const client = await connectOnce({ host: 'localhost', port, ca: caPem, ...options }, 5);
  const heard: IPublishPacket[] = [];
  client.on('message', (_topic, _payload, each) => void heard.push(each));
  /** The first PUBLISH with this status. */
  async function next(status: string) {
    const found = () => heard.find((each) => contentOf(each).status === status);
    await expect.poll(found, patience).toBeDefined();
    return found() as IPublishPacket;
  }
  return { client, heard, next };
}

const contentOf = ({ payload }: IPublishPacket) => JSON.parse(payload.toString());

/** CONNECT of version 5, with these properties, and what its flags announce. */
const connectPacket = (properties = '', { flags = 2, more = [] as Buffer[], id = 'raw' } = {}) => {
  const all = Buffer.from(properties, 'hex');
  return packet(0x10, text('MQTT'), Buffer.from([5, flags, 0, 60, all.length]), all, text(id), ...more);
};
const publish5 = (topic: string, { header = 0x32, properties = '', payload = '{}' } = {}) => {
  const all = Buffer.from(properties, 'hex');
  const id = (header & 6) === 0 ? [] : [Buffer.from([0, 1])];
  return packet(header, text(topic), ...id, Buffer.from([all.length]), all, Buffer.from(payload));
};

const reasonOf = (refusal: Packet) => (refusal as IConnackPacket).properties?.reasonString ?? 'no reason';

/** As a client of version 5 reads it. */
function read({ type, flags, body }: RawPacket): Packet {
  let found: Packet | undefined;
  const reading = parser({ protocolVersion: 5 } as never);
  reading.on('packet', (each) => {
    found = each;
  });
  reading.parse(packet((type << 4) | flags, body));
  return found as Packet;
}

describe.skipIf(lacks('redis-server'))('a device that speaks MQTT 5', { timeout: 60_000 }, () => {
  let gateway: Gateway;
  let here: { token: string };
  beforeAll(async () => {
    gateway = await startGateway({
      env: { CVM_WORKER_CONCURRENCY: '1' },
      limits: { packetMs: 1000, maxConnectionsPerSerial: 1 },
    });
    here = await gateway.enrolOnRoster('here');
  });
  afterAll(() => gateway?.close());

  it('goes through the whole cycle with MQTT.js: pending, the certificate where it asked for it, the acknowledgement', async () => {
    const { serial, token } = await gateway.enrolOnRoster('five');
    // until it has heard that it waits
    gateway.aws.faults.set([{ operation: 'CreateCertificateFromCsr', kind: 'throttle' }]);
    const responseTopic = `${replyTopic(serial)}/first`;
    const { client, next } = await connect5(gateway.broker, { username: serial, password: token });
    await client.subscribeAsync(responseTopic, { qos: 1 });
    const properties = { responseTopic, correlationData: Buffer.from('c-1') };
    await client.publishAsync(requestTopic(serial), '{"key":"ec","id":"1"}', { qos: 1, properties });
    const pending = await next('pending');
    gateway.aws.faults.set([]);
    const accepted = await next('accepted');
    for (const each of [pending, accepted]) {
      expect(each.topic).toBe(responseTopic);
      expect(each.properties?.correlationData).toEqual(Buffer.from('c-1'));
    }
    expect(pending.properties?.messageExpiryInterval).toBe(contentOf(pending).retryAfter);
    expect(accepted.properties).not.toHaveProperty('messageExpiryInterval');
    const { certificateId } = contentOf(accepted);
    await client.publishAsync(ackTopic(serial), JSON.stringify({ certificateId }), { qos: 1 });
    await expect.poll(async () => (await gateway.registry.find(serial))?.deliveredAt, patience).toBeGreaterThan(0);
    await client.endAsync();
  });

  it('gets its rejection with the Correlation Data of its request, too', async () => {
    const { client, next } = await connect5(gateway.broker);
    const properties = { correlationData: Buffer.from('c-2') };
    await client.publishAsync(requestTopic('nobody'), '{"token":5}', { qos: 1, properties });
    const rejected = await next('rejected');
    expect(rejected).toMatchObject({ topic: replyTopic('nobody'), properties });
    await client.endAsync(true);
  });

  it.each([replyTopic('another'), `${replyTopic('another')}/x`, requestTopic('here'), 'elsewhere', '$SYS/x'])(
    'is told by PUBACK 0x87 that it is not answered at %s, is not vended, and stays connected',
    async (responseTopic) => {
      const { token } = here;
      const { client, heard } = await connect5(gateway.broker);
      const asking = client.publishAsync(requestTopic('here'), JSON.stringify({ token, key: 'ec' }), {
        ...{ qos: 1, properties: { responseTopic } },
      });
      await expect(asking).rejects.toMatchObject({ code: 0x87 });
      await expect(client.publishAsync('elsewhere', 'x', { qos: 1 })).rejects.toMatchObject({ code: 0x90 });
      expect(gateway.logText()).toContain('its Response Topic is not one where this device is answered');
      expect([client.connected, heard]).toEqual([true, []]);
      expect((await gateway.registry.find('here'))?.state).toBe('enrolled');
      await client.endAsync(true);
    },
  );

  it('is not vended when the Message Expiry Interval of its request has passed', async () => {
    const { token } = await gateway.enrolOnRoster('late');
    const { client } = await connect5(gateway.broker);
    const properties = { messageExpiryInterval: 0 };
    const asking = client.publishAsync(requestTopic('late'), JSON.stringify({ token }), { qos: 1, properties });
    await expect(asking).rejects.toMatchObject({ code: 0x83 });
    expect((await gateway.registry.find('late'))?.state).toBe('enrolled');
    await client.endAsync(true);
  });

  it('is not vended when the interval passes while it waits, and is told so; it may ask again', async () => {
    const [first, second] = [await gateway.enrolOnRoster('before'), await gateway.enrolOnRoster('behind')];
    gateway.aws.faults.set([{ operation: 'CreateCertificateFromCsr', kind: 'latency', ms: 6000, times: 1 }]);
    // both are connected before the first one is served: the second one must ask while that lasts
    const [{ client }, asking] = [await connect5(gateway.broker), await connect5(gateway.broker)];
    await client.publishAsync(requestTopic('before'), JSON.stringify({ token: first.token, key: 'ec' }), { qos: 1 });
    await expect.poll(async () => (await gateway.registry.find('before'))?.state, patience).toBe('provisioning');
    const request = JSON.stringify({ token: second.token, key: 'ec', pending: false });
    const properties = { messageExpiryInterval: 1 };
    await asking.client.publishAsync(requestTopic('behind'), request, { qos: 1, properties });
    expect(contentOf(await asking.next('rejected'))).toMatchObject({
      ...{ errorCode: 'UpstreamUnavailable', errorMessage: expect.stringContaining('Message Expiry Interval') },
    });
    expect((await gateway.registry.find('behind'))?.state).toBe('enrolled');
    await gateway.queueIsEmpty();
    await asking.client.publishAsync(requestTopic('behind'), request, { qos: 1 });
    await asking.next('accepted');
    for (const each of [client, asking.client]) await each.endAsync(true);
  });

  type Answering = { readonly below?: string; readonly correlationData?: Buffer };
  describe.each<[string, number, Answering, { receiveMaximum?: number }]>([
    ['no Response Topic', 128, {}, {}],
    ['a Response Topic', 256, { below: '/parts/of/it', correlationData: Buffer.alloc(20, 'c') }, {}],
    ['a Receive Maximum of 1', 256, { correlationData: Buffer.from('one') }, { receiveMaximum: 1 }],
  ])('that has a Maximum Packet Size, and %s', (what, maximumPacketSize, { below, ...carried }, more) => {
    it(`gets its reply in parts of at most ${maximumPacketSize} bytes, without a word of it in its request`, async () => {
      const { serial, token } = await gateway.enrolOnRoster(`parts-${what.length}`);
      const properties = { maximumPacketSize, ...more };
      const { client, heard } = await connect5(gateway.broker, { username: serial, password: token, properties });
      const topic = `${replyTopic(serial)}${below ?? ''}`;
      const addressedTo = { ...(below === undefined ? {} : { responseTopic: topic }), ...carried };
      const asked = { qos: 1, properties: addressedTo } as const;
      await client.publishAsync(requestTopic(serial), '{"key":"ec","pending":false}', asked);
      const flash = emptyFlash();
      const taken = () => {
        for (const { payload } of heard.splice(0).map(measured)) {
          const message = readSmall(payload);
          const outcome = message === undefined ? 'ignored' : takePart(flash, message);
          if (typeof outcome === 'object' && 'whole' in outcome) return outcome.whole;
        }
        return undefined;
      };
      const sizes: number[] = [];
      const addresses: unknown[] = [];
      function measured(each: IPublishPacket) {
        addresses.push([each.topic, each.properties?.correlationData]);
        // the fixed header has two or three bytes
        const { length = 0 } = each;
        sizes.push(1 + (length < 128 ? 1 : 2) + length);
        return { payload: Buffer.from(each.payload) };
      }
      let whole: Buffer | undefined;
      await expect
        .poll(() => {
          whole ??= taken();
          return whole;
        }, patience)
        .toBeDefined();
      const { certificateId, ...reply } = JSON.parse(String(whole));
      expect(reply).toMatchObject({ status: 'accepted', thingName: serial });
      for (const each of addresses) expect(each).toEqual([topic, addressedTo.correlationData]);
      expect(Math.max(...sizes)).toBe(maximumPacketSize);
      await client.publishAsync(ackTopic(serial), JSON.stringify({ certificateId }), { qos: 1 });
      await expect.poll(async () => (await gateway.registry.find(serial))?.deliveredAt, patience).toBeGreaterThan(0);
      await client.endAsync();
    });
  });

  it('whose packets have no room for a part is told how much it needs, or that nothing fits, and is not vended', async () => {
    const { serial, token } = await gateway.enrolOnRoster('too-small');
    const { client, heard } = await connect5(gateway.broker, { properties: { maximumPacketSize: 128 } });
    const ask = (bytes: number) => {
      const properties = { correlationData: Buffer.alloc(bytes) };
      return client.publishAsync(requestTopic(serial), JSON.stringify({ token, key: 'ec' }), { qos: 1, properties });
    };
    await ask(60);
    await expect.poll(() => heard.length, patience).toBe(1);
    const refused = readSmall(Buffer.from(heard[0]?.payload ?? ''));
    expect(refused).toMatchObject({ type: 'rejected', errorCode: 'InvalidRequest' });
    await expect(ask(110)).rejects.toMatchObject({ code: 0x83 });
    expect([client.connected, (await gateway.registry.find(serial))?.state]).toEqual([true, 'enrolled']);
    await client.endAsync(true);
  });

  it('whose packets are too small for an answer of Fleet Provisioning, or for the time, is told which size it needs', async () => {
    const { serial, token } = await gateway.enrolOnRoster('small');
    const limits = { properties: { maximumPacketSize: 512 } };
    const as = { username: serial, password: token };
    const { client, heard } = await connect5(gateway.broker, { ...as, ...limits });
    await client.publishAsync('$aws/certificates/create/json', '{}', { qos: 1 });
    await expect.poll(() => heard.length, patience).toBe(1);
    const [told] = heard as [(typeof heard)[0]];
    expect([told.topic, contentOf(told)]).toEqual([
      '$aws/certificates/create/json/rejected',
      {
        statusCode: 400,
        errorCode: 'InvalidRequest',
        errorMessage: expect.stringMatching(/^3\d{3} bytes are needed in a packet/),
      },
    ]);
    expect(gateway.logText()).toMatch(/3\d{3} bytes are needed in a packet/);
    await client.endAsync(true);
    // and where a little fits, the code and the size come
    const tiny = await connect5(gateway.broker, { properties: { maximumPacketSize: 130 } });
    const ask = (bytes: number) => {
      const properties = { correlationData: Buffer.alloc(bytes) };
      return tiny.client.publishAsync('cvm/time/0011223344556677', '', { qos: 1, properties });
    };
    await ask(0);
    await expect.poll(() => tiny.heard.length, patience).toBe(1);
    expect(contentOf(tiny.heard[0] as (typeof heard)[0])).toMatchObject({
      errorCode: 'InvalidRequest',
      errorMessage: expect.stringMatching(/^16\d bytes are needed/),
    });
    await expect(ask(90)).rejects.toMatchObject({ code: 0x83 });
    await tiny.client.endAsync(true);
    // nothing is lost: it may ask again
    const larger = await connect5(gateway.broker, as);
    await larger.client.publishAsync('$aws/certificates/create/json', '{}', { qos: 1 });
    await expect
      .poll(() => larger.heard.map(contentOf), patience)
      .toMatchObject([{ certificateId: expect.any(String) }]);
    await larger.client.endAsync(true);
  });

  it.each<[string, Buffer, number, RegExp]>([
    [
      'a will',
      connectPacket('', { flags: 0x06, more: [Buffer.from([0]), text('t'), text('m')] }),
      0x87,
      /^it has a will/,
    ],
    [
      'a user name that is no serial',
      connectPacket('', { flags: 0xc2, more: [text('no serial'), text('x')] }),
      0x86,
      /^the user name is not a serial/,
    ],
    [
      'a password without a user name',
      connectPacket('', { flags: 0x42, more: [text('x')] }),
      0x86,
      /the user name is the serial/,
    ],
    ['an Authentication Method', connectPacket('15000153'), 0x8c, /Authentication Method/],
    ['a property twice', connectPacket('17011701'), 0x82, /comes twice/],
    ['a control character', connectPacket('', { id: 'a\n' }), 0x81, /control character/],
  ])(
    'that connects with %s is refused with a reason code and in words, as the log has it',
    async (_what, bytes, reasonCode, reason) => {
      const device = await connectRaw(gateway.broker);
      device.send(bytes);
      const connack = read(await device.next(2));
      expect(connack).toMatchObject({ reasonCode, properties: { reasonString: expect.stringMatching(reason) } });
      await device.closed;
      await expect.poll(() => gateway.logText()).toContain(reasonOf(connack));
    },
  );

  it.each<[string, Buffer, number, RegExp]>([
    ['QoS 2', publish5(requestTopic('x'), { header: 0x34 }), 0x9b, /QoS 2 is not offered/],
    ['a retained message', publish5(requestTopic('x'), { header: 0x33 }), 0x9a, /retain/],
    ['a Topic Alias', publish5(requestTopic('x'), { properties: '230001' }), 0x94, /Topic Alias/],
    ['a foreign topic with QoS 0', publish5('elsewhere', { header: 0x30 }), 0x90, /devices publish to/],
    ['AUTH', Buffer.from('f000', 'hex'), 0x82, /AUTH/],
    ['too long a packet', Buffer.from('32ffff7f', 'hex'), 0x95, /2097155 bytes/],
    ['half a packet', Buffer.from('32', 'hex'), 0x83, /took more than/],
    ['a packet after DISCONNECT', Buffer.from('e000c000', 'hex'), 0x82, /after DISCONNECT/],
    ['a malformed property', publish5(requestTopic('x'), { properties: '02' }), 0x81, /middle of a field/],
  ])('that sends %s is told so by DISCONNECT, and the log has it', async (_what, bytes, reasonCode, reason) => {
    const device = await connectRaw(gateway.broker);
    device.send(connectPacket());
    await device.next(2);
    device.send(bytes);
    const disconnect = read(await device.next(14));
    expect(disconnect).toMatchObject({ reasonCode, properties: { reasonString: expect.stringMatching(reason) } });
    await device.closed;
    await expect.poll(() => gateway.logText()).toContain(reasonOf(disconnect));
  });

  it('that falls silent is told so', async () => {
    const device = await connectRaw(gateway.broker);
    device.send(packet(0x10, text('MQTT'), Buffer.from([5, 2, 0, 1, 0]), text('silent')));
    expect(read(await device.next(14))).toMatchObject({ reasonCode: 0x8d });
    await device.closed;
  });

  it('that loses its place to a newer connection of its own is told so', async () => {
    const { serial, token } = await gateway.enrolOnRoster('twice');
    const connect = connectPacket('', { flags: 0xc2, more: [text(serial), text(token)] });
    const older = await connectRaw(gateway.broker);
    older.send(connect);
    await older.next(2);
    const newer = await connectRaw(gateway.broker);
    newer.send(connect);
    expect(read(await older.next(14))).toMatchObject({
      ...{ reasonCode: 0x89, properties: { reasonString: expect.stringContaining('too many connections') } },
    });
    newer.socket.destroy();
  });

  it('that may not subscribe hears why, by filter', async () => {
    const device = await connectRaw(gateway.broker);
    device.send(connectPacket('', { flags: 0x82, more: [text('metrics of a library')] }));
    const filters = [replyTopic('own'), replyTopic('foreign'), `${replyTopic('own')}/+`, '$share/g/x'];
    const asked = filters.flatMap((filter) => [text(filter), Buffer.from([2])]);
    device.send(packet(0x82, Buffer.from([0, 1, 0]), ...asked));
    expect(read(await device.next(9))).toMatchObject({
      granted: [1, 0x87, 0xa2, 0x9e],
      properties: { reasonString: expect.any(String) },
    });
    device.socket.destroy();
  });

  it('that asks without Reason Strings gets the reason code alone', async () => {
    const device = await connectRaw(gateway.broker);
    device.send(connectPacket('1700'));
    await device.next(2);
    device.send(Buffer.from('f000', 'hex'));
    expect((await device.next(14)).body).toEqual(Buffer.from([0x82]));
  });

  it.skipIf(lacks('mosquitto_rr'))(
    'goes through request and reply with mosquitto_rr, which uses Response Topic and Correlation Data',
    async () => {
      const { serial, token } = await gateway.enrolOnRoster('rr-five');
      const at = ['-h', 'localhost', '-p', String(gateway.broker.port), '--cafile', gateway.broker.caFile];
      const request = JSON.stringify({ key: 'ec', pending: false });
      const topics = ['-t', requestTopic(serial), '-e', `${replyTopic(serial)}/rr`];
      const as = ['-V', '5', '-q', '1', '-u', serial, '-P', token, '-W', '60'];
      const { stdout } = await run('mosquitto_rr', [...at, ...as, ...topics, '-m', request]);
      expect(JSON.parse(stdout)).toMatchObject({ status: 'accepted', thingName: serial });
    },
  );
});

describe.skipIf(lacks('redis-server'))('a gateway that stops, or cannot store', { timeout: 60_000 }, () => {
  it('says so to devices that speak MQTT 5', async () => {
    const gateway = await startGateway({ limits: { storeMs: 300 } });
    const { serial, token } = await gateway.enrolOnRoster('stop');
    const [asking, idle] = [await connectRaw(gateway.broker), await connectRaw(gateway.broker)];
    for (const each of [asking, idle]) {
      each.send(connectPacket());
      await each.next(2);
    }
    const redis = new Redis(gateway.redis.url);
    await redis.config('SET', 'maxmemory', '1');
    asking.send(publish5(requestTopic(serial), { payload: JSON.stringify({ token }) }));
    const disconnect = read(await asking.next(14));
    expect(disconnect).toMatchObject({
      reasonCode: 0x89,
      properties: { reasonString: expect.stringContaining('ask again') },
    });
    await redis.config('SET', 'maxmemory', '0');
    redis.disconnect();
    await gateway.close();
    expect(read(await idle.next(14))).toMatchObject({ reasonCode: 0x8b });
  });
});

import { type IConnackPacket, type IDisconnectPacket, type Packet, parser } from 'mqtt-packet';
import { describe, expect, it } from 'vitest';
import { defaultLimits } from '../../broker/limits.ts';
import type { Violation } from '../../broker/listener/packet-reader.ts';
import { Mqtt5 } from '../../broker/mqtt5/mqtt5.ts';
import { isConnect5 } from '../../broker/mqtt5/packets.ts';
import { propertyBytes, publish } from '../../broker/mqtt5/sent.ts';
import { payloadRoom } from '../../protocol/packet-size.ts';
import { seeded } from '../chaos/random.ts';
import { mutate } from '../fuzz/corpus.ts';
import { mqtt5Stream } from '../fuzz/mqtt5.ts';
import { packet, packetReader, type RawPacket, text } from '../support/raw-mqtt.ts';

const bytes = (...values: (number | Buffer | string)[]) =>
  Buffer.concat(
    values.map((value) => (typeof value === 'number' ? Buffer.from([value]) : Buffer.from(value as string))),
  );
/** Properties with their length. */
const props = (...values: (number | Buffer)[]) => {
  const all = bytes(...values);
  return bytes(all.length, all);
};
const u32 = (value: number) => bytes(value >>> 24, (value >> 16) & 255, (value >> 8) & 255, value & 255);
const userProperty = bytes(0x26, text('k'), text('v'));
const connectBody = (properties: Buffer = props(), { flags = 2, id = 'id', keepalive = 60, more = bytes() } = {}) =>
  bytes(text('MQTT'), 5, flags, keepalive >> 8, keepalive & 255, properties, text(id), more);

/** A translator, what it wrote by itself, and why it ended the connection. */
function translator(limits = {}) {
  const [written, ended]: [Buffer[], Violation[]] = [[], []];
  let now = 0;
  const to = { write: (each: Buffer) => void written.push(each), end: (each: Violation) => void ended.push(each) };
  const mqtt5 = new Mqtt5({ ...defaultLimits, ...limits }, to, () => now);
  return {
    mqtt5,
    written,
    ended,
    pass(seconds: number) {
      now += seconds * 1000;
    },
  };
}

/** One whose CONNECT has been accepted. */
function connected(properties = props(), limits = {}) {
  const all = translator(limits);
  expect(all.mqtt5.takes(0x10, connectBody(properties))).toBeInstanceOf(Buffer);
  const connack = read(all.mqtt5.sends(bytes(0x20, 2, 0, 0)))[0] as IConnackPacket;
  return { ...all, connack };
}

/** The packets as a client of MQTT 5 reads them. */
function read(buffer: Buffer): Packet[] {
  const packets: Packet[] = [];
  const reading = parser({ protocolVersion: 5 } as never);
  reading.on('packet', (each) => packets.push(each));
  reading.parse(buffer);
  return packets;
}

const codeOf = (taken: Buffer | Violation) => (Buffer.isBuffer(taken) ? undefined : (taken.code ?? 0x81));

const request = Buffer.from(
  '{"token":"RT0Y4-azE46RqutoLguqQJ-ZrrU","key":"ec","format":"der","rootCa":false,"id":"a"}',
);
const longRequest = Buffer.from(`{"csr":"${'M'.repeat(400)}"}`);

it.each<[string, number, Buffer]>([
  ['PUBLISH', 0x32, bytes(text('cvm/request/SN-1'), 0, 1, request)],
  ['PUBLISH', 0x32, bytes(text('cvm/request/SN-1'), 0, 1, longRequest)],
  ['SUBSCRIBE', 0x82, bytes(0, 1, text('cvm/reply/SN-1'), 1)],
  ['SUBSCRIBE', 0x82, bytes(0, 1, text(`cvm/reply/${'S'.repeat(300)}`), 1)],
  ['UNSUBSCRIBE', 0xa2, bytes(0, 1, text('cvm/reply/SN-1'))],
  ['UNSUBSCRIBE', 0xa2, bytes(0, 1, text(`cvm/reply/${'S'.repeat(300)}`))],
])(
  'a client that sends the %s of MQTT 3.1.1 after a CONNECT of MQTT 5 is told what is missing',
  (name, header, body) => {
    const { reason } = connected().mqtt5.takes(header, body) as Violation;
    expect(reason).toContain(name);
    expect(reason).toContain('the length of the properties comes before what follows them');
  },
);

describe('CONNECT of MQTT 5', () => {
  it('is known by its protocol name and level', () => {
    expect(isConnect5(connectBody())).toBe(true);
    expect(isConnect5(bytes(text('MQTT'), 4, 2, 0, 60, text('id')))).toBe(false);
    expect(isConnect5(bytes(text('MQIsdp'), 5, 2, 0, 60, text('id')))).toBe(false);
    expect(isConnect5(bytes(text('MQTT')))).toBe(false);
  });

  it('becomes one of MQTT 3.1.1 with the same client id, will, user name and password, and a clean session', () => {
    const will = bytes(props(0x18, u32(5), 0x01, 1, userProperty), text('w'), text('gone'));
    const body = connectBody(
      props(0x11, u32(60), 0x21, 0, 9, 0x27, u32(4096), 0x22, 0, 5, 0x19, 1, 0x17, 1, userProperty, userProperty),
      { flags: 0xc4, more: bytes(will, text('SN-1'), text('secret')) },
    );
    const { mqtt5 } = translator();
    expect(mqtt5.takes(0x10, body)).toEqual(
      packet(
        0x10,
        text('MQTT'),
        bytes(4, 0xc6, 0, 60),
        text('id'),
        text('w'),
        text('gone'),
        text('SN-1'),
        text('secret'),
      ),
    );
    expect(mqtt5.maxPacketBytes).toBe(4096);
  });

  it('leaves no password behind in the memory that it was read from', () => {
    const body = connectBody(props(), { flags: 0xc2, more: bytes(text('SN-1'), text('secret')) });
    translator().mqtt5.takes(0x10, body);
    expect(body.includes('secret')).toBe(false);
  });

  it.each<[string, Buffer, number]>([
    ['a property twice', props(0x11, u32(1), 0x11, u32(1)), 0x82],
    ['a Receive Maximum of 0', props(0x21, 0, 0), 0x82],
    ['a Maximum Packet Size of 0', props(0x27, u32(0)), 0x82],
    ['Request Problem Information 2', props(0x17, 2), 0x82],
    ['Request Response Information 2', props(0x19, 2), 0x82],
    ['an Authentication Method', props(0x15, text('SCRAM')), 0x8c],
    ['Authentication Data without a method', props(0x16, text('x')), 0x82],
    ['a property of PUBLISH', props(0x01, 1), 0x81],
    ['an unknown property', props(0x7f, 1), 0x81],
    ['a property that is cut off', props(0x11, 0, 0), 0x81],
    ['a User Property without its value', props(0x26, text('k')), 0x81],
    ['a User Property that is not UTF-8', props(0x26, text('k'), bytes(0, 1, 0xff)), 0x81],
    ['a length of its properties beyond the end', bytes(0xff, 0x7f), 0x81],
    ['a length of its properties in more bytes than it needs', bytes(0x80, 0x00), 0x81],
    ['a length of its properties in five bytes', bytes(0x80, 0x80, 0x80, 0x80, 0x01), 0x81],
    ['a Maximum Packet Size that has no room for CONNACK', props(0x27, u32(20)), 0x95],
  ])('is refused with %s', (_what, properties, code) => {
    const { mqtt5, written } = translator();
    const taken = mqtt5.takes(0x10, connectBody(properties));
    expect(codeOf(taken)).toBe(code);
    const { reason } = taken as Violation;
    mqtt5.farewell(code, reason);
    const [connack] = read(Buffer.concat(written)) as IConnackPacket[];
    if (code === 0x95) expect(written.map((each) => each.length <= 20)).toEqual([true]);
    else expect(connack).toMatchObject({ cmd: 'connack', reasonCode: code, properties: { reasonString: reason } });
  });

  it.each<[string, Buffer]>([
    ['an Authentication Method', connectBody(props(0x15, text('SCRAM'), 0x27, u32(20)))],
    ['a byte behind its end', bytes(connectBody(props(0x27, u32(20))), 0)],
    ['a client id that is not UTF-8', bytes(connectBody(props(0x27, u32(20))).subarray(0, -4), 0, 1, 0xff)],
    ['an Authentication Method, and without a wish for reasons', connectBody(props(0x15, text('SCRAM'), 0x17, 0))],
  ])('is refused in a packet that its client takes, with %s', (_what, body) => {
    const { mqtt5, written } = translator();
    const { code = 0x81, reason } = mqtt5.takes(0x10, body) as Violation;
    mqtt5.farewell(code, reason);
    expect(written).toEqual([bytes(0x20, 3, 0, code, 0)]);
  });

  it.each<[string, Buffer]>([
    ['the reserved flag', connectBody(props(), { flags: 3 })],
    ['a will QoS without a will', connectBody(props(), { flags: 0x0a })],
    ['a will with QoS 3', connectBody(props(), { flags: 0x1e, more: bytes(props(), text('t'), text('m')) })],
    ['something after its end', connectBody(props(), { more: bytes(1) })],
    ['a client id with NUL', connectBody(props(), { id: 'a\0' })],
    ['no client id at all', connectBody().subarray(0, 11)],
  ])('is malformed with %s', (_what, body) => {
    expect(codeOf(translator().mqtt5.takes(0x10, body))).toBe(0x81);
  });
});

describe('CONNACK of MQTT 5', () => {
  const always = {
    receiveMaximum: 8,
    maximumQoS: 1,
    retainAvailable: false,
    maximumPacketSize: 16_384,
    subscriptionIdentifiersAvailable: false,
    sharedSubscriptionAvailable: false,
  };

  it('says what the gateway offers, and no more', () => {
    expect(connected().connack).toMatchObject({ reasonCode: 0, sessionPresent: false });
    expect({ ...connected().connack.properties }).toEqual(always);
  });

  it('has Session Expiry Interval 0 where one was asked for', () => {
    expect({ ...connected(props(0x11, u32(60))).connack.properties }).toEqual({ ...always, sessionExpiryInterval: 0 });
  });

  it.each([
    [0, 600],
    [601, 600],
    [600, undefined],
    [1, undefined],
  ])('has a Server Keep Alive where the asked one, %i, is not ours: %j', (keepalive, serverKeepAlive) => {
    const { mqtt5 } = translator();
    mqtt5.takes(0x10, connectBody(props(), { keepalive }));
    const [connack] = read(mqtt5.sends(bytes(0x20, 2, 0, 0))) as IConnackPacket[];
    expect(connack?.properties?.serverKeepAlive).toBe(serverKeepAlive);
  });

  it('has the client id that a client without one got, which is in the CONNECT of the broker', () => {
    const { mqtt5 } = translator();
    const older = mqtt5.takes(0x10, connectBody(props(), { id: '' })) as Buffer;
    const [connack] = read(mqtt5.sends(bytes(0x20, 2, 0, 0))) as IConnackPacket[];
    const assigned = connack?.properties?.assignedClientIdentifier ?? '';
    expect(assigned).toMatch(/^[\w-]{22}$/);
    expect(older.includes(assigned)).toBe(true);
  });

  it.each([
    [1, 0x84],
    [2, 0x85],
    [3, 0x88],
    [4, 0x86],
    [5, 0x87],
  ])('has the reason code of return code %i, and the reason', (returnCode, reasonCode) => {
    const { mqtt5 } = translator();
    mqtt5.takes(0x10, connectBody());
    mqtt5.explain('why it is so');
    expect(read(mqtt5.sends(bytes(0x20, 2, 0, returnCode)))).toMatchObject([
      { cmd: 'connack', reasonCode, properties: { reasonString: 'why it is so' } },
    ]);
  });

  it('has no reason where Request Problem Information is 0, and none that does not fit', () => {
    for (const properties of [props(0x17, 0), props(0x27, u32(40))]) {
      const { mqtt5 } = translator();
      mqtt5.takes(0x10, connectBody(properties));
      mqtt5.explain('a reason which is longer than forty bytes are');
      expect(mqtt5.sends(bytes(0x20, 2, 0, 5))).toEqual(bytes(0x20, 3, 0, 0x87, 0));
    }
  });
});

describe('PUBLISH of a client of MQTT 5', () => {
  const publishBody = (properties: Buffer, topic = 't', id: number | 'none' = 7) =>
    bytes(text(topic), ...(id === 'none' ? [] : [id >> 8, id & 255]), properties, 'payload');
  const older = packet(0x32, text('t'), bytes(0, 7, 'payload'));

  it('becomes one of MQTT 3.1.1, and what it said of its answer is there to be asked for, once', () => {
    const { mqtt5 } = connected();
    const body = publishBody(
      props(
        0x01,
        1,
        0x02,
        u32(9),
        0x03,
        text('application/json'),
        0x08,
        text('r'),
        0x09,
        bytes(0, 2, 1, 2),
        userProperty,
      ),
    );
    expect(mqtt5.takes(0x32, body)).toEqual(older);
    expect(mqtt5.takePublished()).toEqual({
      messageId: 7,
      responseTopic: 'r',
      correlationData: bytes(1, 2),
      expiresAt: 9000,
    });
    expect(mqtt5.takePublished()).toBeUndefined();
    expect(body.includes('payload')).toBe(false);
  });

  it('is one of 3.1.1 with QoS 0, too', () => {
    const { mqtt5 } = connected();
    expect(mqtt5.takes(0x30, publishBody(props(), 't', 'none'))).toEqual(packet(0x30, text('t'), bytes('payload')));
    expect(mqtt5.takePublished()).toMatchObject({ messageId: undefined, responseTopic: undefined });
  });

  it.each<[string, number, Buffer, number]>([
    ['a Topic Alias', 0x32, publishBody(props(0x23, 0, 1)), 0x94],
    ['a Topic Alias in place of the topic', 0x32, publishBody(props(0x23, 0, 1), ''), 0x94],
    ['the retain flag', 0x33, publishBody(props()), 0x9a],
    ['QoS 2', 0x34, publishBody(props()), 0x9b],
    ['QoS 3', 0x36, publishBody(props()), 0x81],
    ['DUP with QoS 0', 0x38, publishBody(props(), 't', 'none'), 0x81],
    ['an empty topic', 0x32, publishBody(props(), ''), 0x81],
    ['a wildcard in its topic', 0x32, publishBody(props(), 'a/+'), 0x81],
    ['message id 0', 0x32, publishBody(props(), 't', 0), 0x82],
    ['a Subscription Identifier', 0x32, publishBody(props(0x0b, 1)), 0x82],
    ['a wildcard in its Response Topic', 0x32, publishBody(props(0x08, text('a/#'))), 0x82],
    ['an empty Response Topic', 0x32, publishBody(props(0x08, text(''))), 0x82],
    ['Correlation Data twice', 0x32, publishBody(props(0x09, text('a'), 0x09, text('a'))), 0x82],
    ['Payload Format Indicator 2', 0x32, publishBody(props(0x01, 2)), 0x82],
    ['a property of CONNECT', 0x32, publishBody(props(0x11, u32(1))), 0x81],
  ])('ends the connection with %s', (_what, header, body, code) => {
    expect(codeOf(connected().mqtt5.takes(header, body))).toBe(code);
  });

  it('gets a PUBACK with a reason where the gateway refuses it, and a short one where not', () => {
    const { mqtt5 } = connected();
    mqtt5.takes(0x32, publishBody(props()));
    mqtt5.refuseMessage(7, 0x87, 'not there');
    expect(read(mqtt5.sends(bytes(0x40, 2, 0, 7)))).toMatchObject([
      { cmd: 'puback', messageId: 7, reasonCode: 0x87, properties: { reasonString: 'not there' } },
    ]);
    mqtt5.takes(0x32, publishBody(props()));
    expect(mqtt5.sends(bytes(0x40, 2, 0, 7))).toEqual(bytes(0x40, 2, 0, 7));
  });

  it('ends the connection when more wait for their PUBACK than the Receive Maximum of the gateway', () => {
    const { mqtt5 } = connected(props(), { maxRequestsPerConnection: 2 });
    for (const id of [1, 2, 2]) expect(codeOf(mqtt5.takes(0x32, publishBody(props(), 't', id)))).toBeUndefined();
    mqtt5.sends(bytes(0x40, 2, 0, 1));
    expect(codeOf(mqtt5.takes(0x32, publishBody(props(), 't', 3)))).toBeUndefined();
    expect(codeOf(mqtt5.takes(0x32, publishBody(props(), 't', 4)))).toBe(0x93);
  });
});

describe('PUBLISH to a client of MQTT 5', () => {
  const sent = (id: number, payload = 'reply') => packet(0x32, text('r'), bytes(0, id, payload));

  it('has the Correlation Data and the Message Expiry Interval of its message', () => {
    const { mqtt5 } = connected();
    mqtt5.expectMessage(bytes('first'), { correlationData: bytes(9) });
    mqtt5.expectMessage(bytes('second'), { expirySeconds: 30 });
    const packets = read(mqtt5.sends(Buffer.concat([sent(1, 'second'), sent(2, 'first'), sent(3, 'first')])));
    expect(packets).toMatchObject([
      { topic: 'r', qos: 1, messageId: 1, payload: bytes('second'), properties: { messageExpiryInterval: 30 } },
      { topic: 'r', qos: 1, messageId: 2, payload: bytes('first'), properties: { correlationData: bytes(9) } },
      { topic: 'r', qos: 1, messageId: 3, payload: bytes('first') },
    ]);
    expect(packets[2]).not.toHaveProperty('properties');
  });

  it('is the same however the broker cuts what it writes', () => {
    const written = Buffer.concat([sent(1), sent(2)]);
    const whole = connected().mqtt5.sends(written);
    for (let cut = 0; cut <= written.length; cut++) {
      const { mqtt5 } = connected();
      expect(Buffer.concat([mqtt5.sends(written.subarray(0, cut)), mqtt5.sends(written.subarray(cut))])).toEqual(whole);
    }
  });

  it('never comes before earlier ones are acknowledged, as far as Receive Maximum says, and comes then', () => {
    const { mqtt5, written } = connected(props(0x21, 0, 2));
    expect(read(mqtt5.sends(Buffer.concat([1, 2, 3, 4].map((id) => sent(id)))))).toMatchObject([
      { messageId: 1 },
      { messageId: 2 },
    ]);
    mqtt5.takes(0x40, bytes(0, 2));
    expect(read(Buffer.concat(written))).toMatchObject([{ messageId: 3 }]);
    mqtt5.takes(0x40, bytes(0, 2));
    mqtt5.takes(0x40, bytes(0, 1, 0x80));
    expect(read(Buffer.concat(written))).toMatchObject([{ messageId: 3 }, { messageId: 4 }]);
  });

  it('that waits and expires meanwhile is left out; one that does not has fewer seconds left', () => {
    const { mqtt5, written, pass } = connected(props(0x21, 0, 1));
    for (const [payload, expirySeconds] of [
      ['a', 5],
      ['b', 20],
    ] as const)
      mqtt5.expectMessage(bytes(payload), { expirySeconds });
    mqtt5.sends(Buffer.concat([sent(1), sent(2, 'a'), sent(3, 'b')]));
    pass(8);
    mqtt5.takes(0x40, bytes(0, 1));
    expect(read(Buffer.concat(written))).toMatchObject([{ messageId: 3, properties: { messageExpiryInterval: 12 } }]);
  });

  it('ends the connection when the client acknowledges nothing and too many wait', () => {
    const { mqtt5, ended } = connected(props(0x21, 0, 1));
    for (let id = 1; id <= 17; id++) mqtt5.sends(sent(id));
    expect(ended).toEqual([]);
    mqtt5.sends(sent(18));
    expect(ended).toMatchObject([{ code: 0x97, reason: expect.stringContaining('acknowledges no message') }]);
  });

  it('that is larger than the client takes is not sent', () => {
    const { mqtt5 } = connected(props(0x27, u32(60)));
    const most = payloadRoom('r', 60, propertyBytes({}));
    expect(mqtt5.sends(sent(1, 'x'.repeat(most)))).toHaveLength(60);
    expect(mqtt5.sends(sent(2, 'x'.repeat(most + 1)))).toHaveLength(0);
  });

  it('has room for a payload of exactly the bytes that payloadRoom says', () => {
    for (const max of [60, 127, 128, 129, 130, 131, 200, 16_383, 16_386, 16_387, 16_388, 16_389, 2_097_155])
      for (const properties of [
        {},
        { correlationData: Buffer.alloc(16) },
        { correlationData: Buffer.alloc(130), expirySeconds: 9 },
      ]) {
        const room = payloadRoom('cvm/reply/SN-1', max, propertyBytes(properties));
        if (room < 0) continue;
        const size = (length: number) => publish(0x32, 'cvm/reply/SN-1', 1, Buffer.alloc(length), properties).length;
        expect(size(room)).toBeLessThanOrEqual(max);
        expect(size(room + 1)).toBeGreaterThan(max);
      }
  });

  it('must be acknowledged by its own kind of packet', () => {
    const { mqtt5 } = connected();
    mqtt5.sends(sent(1));
    expect(codeOf(mqtt5.takes(0x50, bytes(0, 1)))).toBe(0x82);
  });
});

describe('SUBSCRIBE and UNSUBSCRIBE of MQTT 5', () => {
  const subscribeBody = (filters: (Buffer | number)[], properties = props()) => bytes(0, 5, properties, ...filters);

  it('become those of MQTT 3.1.1, with the QoS alone of the options', () => {
    const { mqtt5 } = connected();
    expect(mqtt5.takes(0x82, subscribeBody([text('a'), 0x2d, text('b'), 0x12], props(userProperty)))).toEqual(
      packet(0x82, bytes(0, 5), text('a'), bytes(1), text('b'), bytes(2)),
    );
    expect(mqtt5.takes(0xa2, bytes(0, 6, props(userProperty), text('a'), text('b')))).toEqual(
      packet(0xa2, bytes(0, 6), text('a'), text('b')),
    );
  });

  it('have a reason code for each filter: QoS 2 is granted as 1, and a refusal says what it is about', () => {
    const { mqtt5 } = connected();
    const filters = ['own', 'foreign', 'a/+', '$share/g/own', 'own'].flatMap((each) => [text(each), 2]);
    mqtt5.takes(0x82, subscribeBody(filters));
    mqtt5.explain('not yours');
    // the broker answers a filter that comes twice once
    expect(read(mqtt5.sends(bytes(0x90, 6, 0, 5, 2, 0x80, 0x80, 0x80)))).toMatchObject([
      { cmd: 'suback', granted: [1, 0x87, 0xa2, 0x9e, 1], properties: { reasonString: 'not yours' } },
    ]);
    mqtt5.takes(0xa2, bytes(0, 6, props(), text('own'), text('foreign'), text('own')));
    expect(read(mqtt5.sends(bytes(0xb0, 2, 0, 6)))).toMatchObject([{ cmd: 'unsuback', granted: [0, 0x11, 0x11] }]);
  });

  it('with a Subscription Identifier is refused for each filter, and the broker never sees it', () => {
    const { mqtt5, written } = connected();
    expect(mqtt5.takes(0x82, subscribeBody([text('a'), 1, text('b'), 1], props(0x0b, 3)))).toHaveLength(0);
    expect(read(Buffer.concat(written))).toMatchObject([{ cmd: 'suback', messageId: 5, granted: [0xa1, 0xa1] }]);
  });

  it.each<[string, number, Buffer, number]>([
    ['no filter', 0x82, bytes(0, 5, props()), 0x81],
    ['an empty filter', 0x82, subscribeBody([text(''), 0]), 0x81],
    ['a wildcard that does not fill its level', 0x82, subscribeBody([text('a+'), 0]), 0x81],
    ['QoS 3', 0x82, subscribeBody([text('a'), 3]), 0x81],
    ['Retain Handling 3', 0x82, subscribeBody([text('a'), 0x30]), 0x82],
    ['reserved options', 0x82, subscribeBody([text('a'), 0x40]), 0x81],
    ['No Local on a shared subscription', 0x82, subscribeBody([text('$share/g/a'), 4]), 0x82],
    ['a shared subscription without a filter', 0x82, subscribeBody([text('$share/g/'), 0]), 0x82],
    ['Subscription Identifier 0', 0x82, subscribeBody([text('a'), 0], props(0x0b, 0)), 0x82],
    ['message id 0', 0xa2, bytes(0, 0, props(), text('a')), 0x82],
    ['wrong flags', 0x80, subscribeBody([text('a'), 0]), 0x81],
    ['no filter to leave', 0xa2, bytes(0, 5, props()), 0x81],
  ])('end the connection with %s', (_what, header, body, code) => {
    expect(codeOf(connected().mqtt5.takes(header, body))).toBe(code);
  });
});

/** As the parser of the broker sees them; it emits an error for what is malformed. */
function readOlder(buffer: Buffer): Packet[] {
  const packets: Packet[] = [];
  const reading = parser({ protocolVersion: 4 } as never);
  reading.on('packet', (each) => packets.push(each));
  reading.on('error', (error) => {
    throw error;
  });
  expect(reading.parse(buffer)).toBe(0);
  return packets;
}

it('whatever a client of MQTT 5 sends, the broker gets one well-formed packet of 3.1.1 for it, or none, or the connection ends', () => {
  const random = seeded(5);
  for (let round = 0; round < 3000; round++) {
    const stream = mqtt5Stream(random);
    const { mqtt5 } = translator();
    for (const { type, flags, body } of cut(random.next() < 0.5 ? stream : mutate(stream, random))) {
      const header = (type << 4) | flags;
      if (header !== 0x10 && round % 2 === 0) mqtt5.sends(bytes(0x20, 2, 0, 0));
      const taken = mqtt5.takes(header, Buffer.from(body));
      if (!Buffer.isBuffer(taken)) {
        expect(taken.reason).toMatch(/^[\x20-\x7e]+$/);
        break;
      }
      expect(readOlder(taken).length).toBe(taken.length === 0 ? 0 : 1);
    }
  }
});

/** The whole packets of a stream. */
function cut(stream: Buffer): RawPacket[] {
  const packets: RawPacket[] = [];
  packetReader((each) => packets.push(each))(stream);
  return packets;
}

describe('other packets of MQTT 5', () => {
  it.each<[string, number, Buffer, Buffer]>([
    ['PUBACK with a reason', 0x40, bytes(0, 1, 0x80, props(0x1f, text('full'))), bytes(0x40, 2, 0, 1)],
    ['PUBREC', 0x50, bytes(0, 1), bytes(0x50, 2, 0, 1)],
    ['PUBREC that refuses: the delivery is over', 0x50, bytes(0, 1, 0x80), bytes()],
    ['PUBREL', 0x62, bytes(0, 1, 0x92), bytes(0x62, 2, 0, 1)],
    ['PUBCOMP', 0x70, bytes(0, 1, 0, 0), bytes(0x70, 2, 0, 1)],
    ['PINGREQ', 0xc0, bytes(), bytes(0xc0, 0)],
    ['DISCONNECT', 0xe0, bytes(), bytes(0xe0, 0)],
    ['DISCONNECT with a reason', 0xe0, bytes(0x04, props(0x1f, text('bye'), 0x11, u32(0))), bytes(0xe0, 0)],
  ])('%s', (_what, header, body, older) => {
    expect(connected().mqtt5.takes(header, body)).toEqual(older);
  });

  it.each<[string, number, Buffer, number]>([
    ['PUBACK with an unknown reason code', 0x40, bytes(0, 1, 0xff), 0x82],
    ['PUBACK with a property of another packet', 0x40, bytes(0, 1, 0, props(0x01, 1)), 0x81],
    ['PUBACK with two reasons', 0x40, bytes(0, 1, 0, props(0x1f, text('a'), 0x1f, text('b'))), 0x82],
    ['PUBACK that is too long', 0x40, bytes(0, 1, 0, 0, 0), 0x81],
    ['PUBACK without an id', 0x40, bytes(), 0x81],
    ['PUBREL with a reason code of PUBACK', 0x62, bytes(0, 1, 0x80), 0x82],
    ['AUTH', 0xf0, bytes(), 0x82],
    ['CONNACK', 0x20, bytes(0, 0, 0), 0x82],
    ['a reserved type', 0x00, bytes(), 0x82],
    ['a second CONNECT', 0x10, connectBody(), 0x82],
    ['PINGREQ with a body', 0xc0, bytes(1), 0x81],
    ['DISCONNECT with a Session Expiry Interval that CONNECT had not', 0xe0, bytes(0, props(0x11, u32(1))), 0x82],
    ['DISCONNECT with a property of another packet', 0xe0, bytes(0, props(0x01, 1)), 0x81],
  ])('%s ends the connection', (_what, header, body, code) => {
    expect(codeOf(connected().mqtt5.takes(header, body))).toBe(code);
  });

  it('before CONNECT end the connection', () => {
    expect(codeOf(translator().mqtt5.takes(0xc0, bytes()))).toBe(0x82);
  });

  it('of a client after its own DISCONNECT end the connection', () => {
    const { mqtt5 } = connected();
    mqtt5.takes(0xe0, bytes());
    expect(mqtt5.begins(0xc0)).toMatchObject({ code: 0x82 });
    expect(codeOf(mqtt5.takes(0xe0, bytes()))).toBe(0x82);
  });

  it('DISCONNECT of the gateway says why, once, and is the last packet that the client gets', () => {
    const { mqtt5, written } = connected();
    expect(mqtt5.farewell(0x8d, 'too silent')).toBe(true);
    expect(mqtt5.farewell(0x81, 'another reason')).toBe(false);
    const [disconnect] = read(Buffer.concat(written)) as IDisconnectPacket[];
    expect(disconnect).toMatchObject({
      cmd: 'disconnect',
      reasonCode: 0x8d,
      properties: { reasonString: 'too silent' },
    });
    expect(written).toHaveLength(1);
    expect(mqtt5.sends(bytes(0xd0, 0))).toHaveLength(0);
  });

  it('a reason before CONNACK is in CONNACK, with a code that CONNACK has', () => {
    const { mqtt5, written } = translator();
    mqtt5.takes(0x10, connectBody());
    mqtt5.farewell(0x8b, 'stopping');
    expect(read(Buffer.concat(written))).toMatchObject([{ cmd: 'connack', reasonCode: 0x88 }]);
  });
});

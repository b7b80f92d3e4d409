import { describe, expect, it } from 'vitest';
import { PacketRules } from '../../broker/listener/packet-rules.ts';

const text = (value: string | Buffer) => {
  const raw = Buffer.from(value);
  return Buffer.concat([Buffer.from([raw.length >> 8, raw.length & 0xff]), raw]);
};
const bytes = (...values: (number | Buffer)[]) =>
  Buffer.concat(values.map((value) => (typeof value === 'number' ? Buffer.from([value]) : value)));
const connect = (flags: number, ...payload: Buffer[]) => bytes(text('MQTT'), 4, flags, 0, 60, ...payload);
const plain = connect(2, text('id'));

/** The rules after a valid CONNECT. */
function connected() {
  const rules = new PacketRules();
  expect(rules.whole(0x10, plain)).toBeUndefined();
  return rules;
}

describe('the rules of MQTT 3.1.1', () => {
  it.each<[string, number, Buffer]>([
    ['PUBLISH with QoS 0', 0x30, bytes(text('t'), Buffer.from('x'))],
    ['PUBLISH with QoS 1', 0x32, bytes(text('t'), 0, 1)],
    ['a PUBLISH that is repeated', 0x3a, bytes(text('t'), 0, 1, Buffer.from('x'))],
    ['PUBACK', 0x40, bytes(0, 1)],
    ['PUBREL', 0x62, bytes(0, 1)],
    ['SUBSCRIBE', 0x82, bytes(0, 1, text('a'), 1, text('b'), 0)],
    ['UNSUBSCRIBE', 0xa2, bytes(0, 1, text('a'))],
    ['wildcards that fill their levels', 0x82, bytes(0, 1, text('+/a/+'), 1, text('a/#'), 1, text('#'), 0)],
    ['PINGREQ', 0xc0, bytes()],
    ['DISCONNECT', 0xe0, bytes()],
    ['a topic with four-byte characters', 0x30, text('𝄞')],
  ])('take %s', (_what, header, body) => {
    expect(connected().whole(header, body)).toBeUndefined();
  });

  it.each<[string, number, Buffer, string]>([
    ['a second CONNECT', 0x10, plain, 'MQTT-3.1.0-2'],
    ['CONNACK from a client', 0x20, bytes(0, 0), 'CONNACK is not for clients to send'],
    ['SUBACK from a client', 0x90, bytes(0, 1, 0), 'not for clients'],
    ['type 0', 0x00, bytes(), 'reserved'],
    ['type 15', 0xf0, bytes(), 'reserved'],
    ['PUBLISH with QoS 3', 0x36, bytes(text('t'), 0, 1), 'MQTT-3.3.1-4'],
    ['DUP with QoS 0', 0x38, text('t'), 'MQTT-3.3.1-2'],
    ['an empty topic', 0x30, text(''), 'MQTT-4.7.3-1'],
    ['a topic with #', 0x30, text('cvm/#'), 'MQTT-3.3.2-2'],
    ['a topic with +', 0x30, text('cvm/+/x'), 'MQTT-3.3.2-2'],
    ['a topic with NUL', 0x30, text('cvm\0x'), 'MQTT-1.5.3-2'],
    ['a topic with a line end', 0x30, text('cvm\nx'), 'MQTT-1.5.3-2'],
    ['a topic with DEL', 0x30, text('cvm\x7fx'), 'MQTT-1.5.3-2'],
    ['a topic with a C1 control', 0x30, text('cvm\u0085x'), 'MQTT-1.5.3-2'],
    ['an overlong encoding', 0x30, text(Buffer.from([0xc0, 0xaf])), 'MQTT-1.5.3-1'],
    ['a lone surrogate', 0x30, text(Buffer.from([0xed, 0xa0, 0x80])), 'MQTT-1.5.3-1'],
    ['a byte that is never UTF-8', 0x30, text(Buffer.from([0xff])), 'MQTT-1.5.3-1'],
    ['message id 0', 0x32, bytes(text('t'), 0, 0), 'MQTT-2.3.1-1'],
    ['a message id beyond the end', 0x32, bytes(text('t'), 0), 'PUBLISH ends in the middle of a field'],
    ['a topic beyond the end', 0x30, bytes(0, 9, Buffer.from('x')), 'middle of a field'],
    ['PUBACK of length 0', 0x40, bytes(), 'PUBACK ends in the middle of a field'],
    ['PUBACK that is too long', 0x40, bytes(0, 1, 2), 'PUBACK is longer than its fields'],
    ['PUBREL without its flags', 0x60, bytes(0, 1), 'PUBREL has flags 0 [MQTT-2.2.2-2]'],
    ['SUBSCRIBE without its flags', 0x80, bytes(0, 1, text('a'), 1), 'MQTT-2.2.2-2'],
    ['SUBSCRIBE without a filter', 0x82, bytes(0, 1), 'middle of a field'],
    ['SUBSCRIBE with an empty filter', 0x82, bytes(0, 1, text(''), 1), 'MQTT-4.7.3-1'],
    ['SUBSCRIBE with QoS 3', 0x82, bytes(0, 1, text('a'), 3), 'MQTT-3.8.3-4'],
    ['PINGREQ with a body', 0xc0, bytes(1), 'longer'],
    ['+ beside other characters in a filter', 0x82, bytes(0, 1, text('a/+b'), 1), 'MQTT-4.7.1-2'],
    ['# beside other characters in a filter', 0xa2, bytes(0, 1, text('a/b#')), 'MQTT-4.7.1-2'],
    ['# before the last level of a filter', 0x82, bytes(0, 1, text('a/#/b'), 1), 'MQTT-4.7.1-2'],
  ])('refuse %s', (_what, header, body, clause) => {
    expect(connected().whole(header, body)?.reason).toContain(clause);
  });

  it.each<[string, Buffer, string | undefined]>([
    ['user name and password', connect(0xc2, text('id'), text('u'), text('p')), undefined],
    ['a will', connect(0x06, text('id'), text('t'), text('m')), undefined],
    ['MQTT 3.1', bytes(text('MQIsdp'), 3, 2, 0, 60, text('id')), undefined],
    ['the level of MQTT 5', bytes(text('MQTT'), 5, 2, 0, 60, 0, text('id')), 'MQTT-3.1.2-2'],
    ['the reserved flag', connect(3, text('id')), 'MQTT-3.1.2-3'],
    ['a will QoS without a will', connect(0x0a, text('id')), 'MQTT-3.1.2-11'],
    ['a will with QoS 3', connect(0x1e, text('id'), text('t'), text('m')), 'MQTT-3.1.2-14'],
    ['a password without a user name', connect(0x42, text('id'), text('p')), 'MQTT-3.1.2-22'],
    ['no client id', connect(2), 'middle of a field'],
    ['the properties of MQTT 5', connect(2, bytes(0), text('id')), 'properties of MQTT 5'],
    ['a client id with NUL', connect(2, text('i\0d')), 'MQTT-1.5.3-2'],
    ['a client id that is not UTF-8', connect(2, text(Buffer.from([0xc0, 0xaf]))), 'MQTT-1.5.3-1'],
    ['something after its end', connect(2, text('id'), text('more')), 'longer'],
  ])('judge CONNECT with %s', (_what, body, clause) => {
    const violation = new PacketRules().whole(0x10, body);
    if (clause === undefined) expect(violation).toBeUndefined();
    else expect(violation?.reason).toContain(clause);
  });

  it('refuse anything before CONNECT, and anything after DISCONNECT, at the first byte', () => {
    expect(new PacketRules().begins(0xc0)?.reason).toContain('MQTT-3.1.0-1');
    const rules = connected();
    rules.whole(0xe0, bytes());
    expect(rules.begins(0xc0)?.reason).toContain('MQTT-3.14.4-2');
  });
});

it.each<[string, Buffer, number]>([
  ['MQTT at an unknown level', text('MQTT'), 6],
  ['MQIsdp at that of MQTT 5', text('MQIsdp'), 5],
  ['another protocol at another level', text('HTTP'), 2],
  ['no protocol at none', text(''), 0],
  ['MQTT 3.1.1 of a bridge', text('MQTT'), 0x84],
  ['MQTT at the level of the other name', text('MQTT'), 3],
  ['MQIsdp at the level of the other name', text('MQIsdp'), 4],
])(
  'the fields of a CONNECT after %s are not judged: it is another version, and gets CONNACK 1',
  (_what, name, level) => {
    expect(new PacketRules().whole(0x10, bytes(name, level, 0xff, 1, 2, 3))).toEqual({
      reason: expect.stringContaining('MQTT-3.1.2-2'),
      answer: bytes(0x20, 2, 0, 1),
    });
  },
);

it.each<[string, Buffer, number]>([
  ['another protocol at level 4', text('HTTP'), 4],
  ['another protocol at level 3', text('HTTP'), 3],
  ['no protocol', text(''), 3],
])('%s is refused, because the parser looks at the level only', (_what, name, level) => {
  expect(new PacketRules().whole(0x10, bytes(name, level, 2, 0, 60, text('id')))?.reason).toContain('MQTT-3.1.2-1');
});

it.each<[string, Buffer, number]>([
  ['MQTT 3.1.1', text('MQTT'), 4],
  ['MQTT 3.1', text('MQIsdp'), 3],
])('the fields of a CONNECT after %s are judged', (_what, name, level) => {
  expect(new PacketRules().whole(0x10, bytes(name, level, 3, 0, 60, text('id')))?.reason).toContain('MQTT-3.1.2-3');
});

it('takes SUBSCRIBE with QoS 2, a space in a topic, and U+00A0, which is no control character', () => {
  expect(connected().whole(0x82, bytes(0, 1, text('a'), 2))).toBeUndefined();
  expect(connected().whole(0x30, text('a b'))).toBeUndefined();
  expect(connected().whole(0x30, text('a\u00a0b'))).toBeUndefined();
});

it('names the malformed text field', () => {
  const bad = text('a\u0000');
  const will = bytes(text('MQTT'), 4, 6, 0, 60, text('id'), bad, 0, 0);
  const user = bytes(text('MQTT'), 4, 0x82, 0, 60, text('id'), bad);
  const client = bytes(text('MQTT'), 4, 2, 0, 60, bad);
  const cases: [string, number, Buffer][] = [
    ['the protocol name', 0x10, bad],
    ['the client id', 0x10, client],
    ['the will topic', 0x10, will],
    ['the user name', 0x10, user],
  ];
  for (const [named, header, body] of cases) expect(new PacketRules().whole(header, body)?.reason).toContain(named);
  expect(connected().whole(0x30, bad)?.reason).toContain('the topic has');
  expect(connected().whole(0x82, bytes(0, 1, bad, 0))?.reason).toContain('the topic filter has');
});

it.each<[string, Buffer]>([
  ['3.1.1 without a clean session', bytes(text('MQTT'), 4, 0, 0, 60, text(''))],
  ['3.1, where it needs one in any case', bytes(text('MQIsdp'), 3, 2, 0, 60, text(''))],
])('an empty client id gets CONNACK 2: MQTT %s', (_what, body) => {
  expect(new PacketRules().whole(0x10, body)).toEqual({
    reason: expect.stringContaining('MQTT-3.1.3-8'),
    answer: bytes(0x20, 2, 0, 2),
  });
});

it('takes an empty client id with a clean session [MQTT-3.1.3-7]', () => {
  expect(new PacketRules().whole(0x10, connect(2, text('')))).toBeUndefined();
});

describe('acknowledgements of the client', () => {
  const [qos1, qos2] = [0x32, 0x34];
  const [puback, pubrec, pubcomp] = [0x40, 0x50, 0x70];

  it.each<[string, number, number[], number]>([
    ['PUBREC for QoS 1', qos1, [], pubrec],
    ['PUBCOMP for QoS 1', qos1, [], pubcomp],
    ['PUBACK for QoS 2', qos2, [], puback],
    ['PUBCOMP for QoS 2 before PUBREC', qos2, [], pubcomp],
    ['PUBACK for QoS 2 after PUBREC', qos2, [pubrec], puback],
  ])('are refused when they do not fit the message: %s', (_what, header, before, last) => {
    const rules = connected();
    rules.sent(header, 7);
    for (const each of before) expect(rules.whole(each, bytes(0, 7))).toBeUndefined();
    expect(rules.whole(last, bytes(0, 7))?.reason).toContain('MQTT-4.3.2');
  });

  it('are taken when they fit, are repeated, or are for a message that is not remembered', () => {
    const rules = connected();
    for (let id = 1; id <= 200; id++) rules.sent(qos1, id);
    rules.sent(qos2, 201);
    const taken: [number, number][] = [
      [puback, 200],
      [puback, 200],
      [pubrec, 1],
      [pubrec, 201],
      [pubrec, 201],
      [pubcomp, 201],
      [pubcomp, 201],
    ];
    for (const [header, id] of taken) expect(rules.whole(header, bytes(0, id))).toBeUndefined();
  });
});

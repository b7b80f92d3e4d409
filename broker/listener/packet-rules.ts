import { isUtf8 } from 'node:buffer';
import { Deliveries } from './deliveries.ts';
import { types } from './packet-types.ts';

/** Fixed header flags [MQTT-2.2.2-1]. Those of PUBLISH have a meaning; `judgePublish` checks them. */
const flagsOf: Readonly<Record<number, number>> = {
  [types.connect]: 0,
  [types.puback]: 0,
  [types.pubrec]: 0,
  [types.pubrel]: 2,
  [types.pubcomp]: 0,
  [types.subscribe]: 2,
  [types.unsubscribe]: 2,
  [types.pingreq]: 0,
  [types.disconnect]: 0,
};

/** Why a connection must end, and what is sent before it ends. `reason` has nothing in it that the device sent. */
export type Violation = { readonly reason: string; readonly answer?: Buffer };

/** Thrown while a packet is read; never leaves this file. */
class Malformed extends Error {
  readonly answer: Buffer | undefined;
  constructor(reason: string, answer?: Buffer) {
    super(reason);
    this.answer = answer;
  }
}

/**
 * The rules of MQTT 3.1.1 (and 3.1) for packets of a client that the parser of aedes does not check: text that is not UTF-8,
 * which could become the client id of another device, control characters, message ids of 0 or beyond the end of the packet,
 * flags, wildcards, and the order of packets. Clauses are those of MQTT 3.1.1. Judges the packets of one connection, in order.
 * @see https://docs.oasis-open.org/mqtt/mqtt/v3.1.1/os/mqtt-v3.1.1-os.html
 */
export class PacketRules {
  readonly #deliveries = new Deliveries();
  #connected = false;
  #over = false;

  /** Judges a packet by its first byte, before the rest has arrived. */
  begins(header: number): Violation | undefined {
    const reason = orderReason(header >> 4, this.#connected, this.#over);
    return reason === undefined ? undefined : { reason };
  }

  /** Judges a whole packet. */
  whole(header: number, body: Buffer): Violation | undefined {
    const [type, flags] = [header >> 4, header & 0x0f];
    const violation = this.begins(header);
    if (violation !== undefined) return violation;
    try {
      judge(type, flags, createReader(body), this.#deliveries);
    } catch (error) {
      if (!(error instanceof Malformed)) throw error;
      const { message: reason, answer } = error;
      return answer === undefined ? { reason } : { reason, answer };
    }
    this.#connected = true;
    this.#over = type === types.disconnect;
    return undefined;
  }

  /** A message was sent to the client with QoS 1 or 2: its acknowledgements must fit. */
  sent(header: number, messageId: number): void {
    this.#deliveries.sent(header, messageId);
  }
}

function orderReason(type: number, connected: boolean, over: boolean): string | undefined {
  if (over) return 'a packet came after DISCONNECT [MQTT-3.14.4-2]';
  if (!connected && type !== types.connect) return `the first packet has type ${type}, not CONNECT [MQTT-3.1.0-1]`;
  if (connected && type === types.connect) return 'a second CONNECT [MQTT-3.1.0-2]';
  if (type === 0 || type === 15) return `packet type ${type} is reserved [MQTT-2.2.1]`;
  if (type !== types.publish && flagsOf[type] === undefined) return `packet type ${type} is not for clients to send`;
  return undefined;
}

function judge(type: number, flags: number, body: Reader, deliveries: Deliveries): void {
  if (type === types.publish) judgePublish(flags, body);
  else {
    if (flags !== flagsOf[type]) throw new Malformed(`packet type ${type} has flags ${flags} [MQTT-2.2.2-2]`);
    if (type === types.connect) judgeConnect(body);
    else if (type === types.subscribe || type === types.unsubscribe) judgeFilters(type, body);
    else if (type !== types.pingreq && type !== types.disconnect) judgeAcknowledgement(type, body, deliveries);
  }
  if (body.left() > 0) throw new Malformed(`packet type ${type} is longer than its fields`);
}

/** CONNACK with this return code [MQTT-3.2.2]. */
const connack = (returnCode: number) => Buffer.from([types.connack << 4, 2, 0, returnCode]);
const [unacceptableVersion, identifierRejected] = [connack(1), connack(2)];

/** CONNACK of MQTT 5, unsupported protocol version, without properties: clients of that version alone cannot read another one. */
const mqtt5Unsupported = Buffer.from([types.connack << 4, 3, 0, 0x84, 0]);

/** The protocol level of each supported protocol name. The parser of aedes looks at the level only. */
const levelOf: Readonly<Record<string, number>> = { MQIsdp: 3, MQTT: 4 };

/** [MQTT-3.1] */
function judgeConnect(body: Reader): void {
  const [name, level] = [body.text('protocol name'), body.byte()];
  // the layout after the level is unknown to us
  if (name === 'MQTT' && level === 5)
    throw new Malformed('MQTT 5: this gateway speaks 3.1.1 and 3.1 [MQTT-3.1.2-2]', mqtt5Unsupported);
  if (level !== 3 && level !== 4) throw new Malformed(otherVersion, unacceptableVersion);
  if (levelOf[name] === undefined) throw new Malformed('a protocol name other than MQTT and MQIsdp [MQTT-3.1.2-1]');
  if (levelOf[name] !== level) throw new Malformed(otherVersion, unacceptableVersion);
  const flags = body.byte();
  const [userName, password, will] = [flags & 0x80, flags & 0x40, flags & 0x04];
  if ((flags & 1) !== 0) throw new Malformed('the reserved CONNECT flag is set [MQTT-3.1.2-3]');
  if (!will && (flags & 0x38) !== 0) throw new Malformed('will flags without a will [MQTT-3.1.2-11]');
  if (will && (flags & 0x18) === 0x18) throw new Malformed('a will with QoS 3 [MQTT-3.1.2-14]');
  if (!userName && password) throw new Malformed('a password without a user name [MQTT-3.1.2-22]');
  body.uint16();
  const isClean = (flags & 2) !== 0;
  if (body.text('client id') === '' && !(isClean && level === 4))
    throw new Malformed('no client id, and no clean session [MQTT-3.1.3-8]', identifierRejected);
  if (will) {
    body.text('will topic');
    body.bytes(body.uint16());
  }
  if (userName) body.text('user name');
  if (password) body.bytes(body.uint16());
}

const otherVersion = 'an MQTT version other than 3.1 and 3.1.1 [MQTT-3.1.2-2]';

/** [MQTT-3.3] */
function judgePublish(flags: number, body: Reader): void {
  const [qos, duplicate] = [(flags >> 1) & 3, flags & 8];
  if (qos === 3) throw new Malformed('QoS 3 [MQTT-3.3.1-4]');
  if (qos === 0 && duplicate) throw new Malformed('DUP with QoS 0 [MQTT-3.3.1-2]');
  const topic = body.text('topic');
  if (topic === '') throw new Malformed('an empty topic [MQTT-4.7.3-1]');
  if (/[+#]/.test(topic)) throw new Malformed('a topic with a wildcard [MQTT-3.3.2-2]');
  if (qos > 0) messageId(body);
  body.skip();
}

/** [MQTT-3.8] and [MQTT-3.10] */
function judgeFilters(type: number, body: Reader): void {
  messageId(body);
  do {
    judgeFilter(body.text('topic filter'));
    if (type === types.subscribe && body.byte() > 2) throw new Malformed('a requested QoS above 2 [MQTT-3.8.3-4]');
  } while (body.left() > 0);
}

/** [MQTT-4.7] */
function judgeFilter(filter: string): void {
  if (filter === '') throw new Malformed('an empty topic filter [MQTT-4.7.3-1]');
  const levels = filter.split('/');
  if (levels.some((level) => level.length > 1 && /[+#]/.test(level)))
    throw new Malformed('a topic filter with a wildcard that does not fill its level [MQTT-4.7.1-2, 4.7.1-3]');
  if (levels.slice(0, -1).includes('#'))
    throw new Malformed('a topic filter with # before its last level [MQTT-4.7.1-2]');
}

/** [MQTT-3.4] to [MQTT-3.7] */
function judgeAcknowledgement(type: number, body: Reader, deliveries: Deliveries): void {
  const reason = deliveries.acknowledged(type, messageId(body));
  if (reason !== undefined) throw new Malformed(reason);
}

function messageId(body: Reader): number {
  const id = body.uint16();
  if (id === 0) throw new Malformed('message id 0 [MQTT-2.3.1-1]');
  return id;
}

type Reader = ReturnType<typeof createReader>;

function createReader(body: Buffer) {
  let at = 0;
  function bytes(count: number): Buffer {
    if (at + count > body.length) throw new Malformed('a packet ends in the middle of a field');
    at += count;
    return body.subarray(at - count, at);
  }
  const uint16 = () => bytes(2).readUInt16BE();
  return {
    bytes,
    uint16,
    byte: () => bytes(1)[0] ?? 0,
    left: () => body.length - at,
    skip(): void {
      at = body.length;
    },
    /** Well-formed UTF-8 [MQTT-1.5.3-1] without NUL [MQTT-1.5.3-2]; the standard permits to close for other control characters */
    text(field: string): string {
      const raw = bytes(uint16());
      if (!isUtf8(raw)) throw new Malformed(`the ${field} is not UTF-8 [MQTT-1.5.3-1]`);
      const text = raw.toString('utf8');
      if (hasControlCharacter(text)) throw new Malformed(`the ${field} has a control character [MQTT-1.5.3-2]`);
      return text;
    },
  };
}

function hasControlCharacter(text: string): boolean {
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code < 0x20 || (code >= 0x7f && code < 0xa0)) return true;
  }
  return false;
}

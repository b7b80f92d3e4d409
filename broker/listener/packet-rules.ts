import { isUtf8 } from 'node:buffer';

/**
 * The rules of MQTT 3.1.1 (and 3.1) for packets of a client that the parser of aedes does not check: text that is not UTF-8,
 * which could become the client id of another device, control characters, message ids of 0 or beyond the end of the packet,
 * flags, and the order of packets. Clauses are those of MQTT 3.1.1.
 * @see https://docs.oasis-open.org/mqtt/mqtt/v3.1.1/os/mqtt-v3.1.1-os.html
 */
const types = {
  connect: 1,
  publish: 3,
  puback: 4,
  pubrec: 5,
  pubrel: 6,
  pubcomp: 7,
  subscribe: 8,
  unsubscribe: 10,
  pingreq: 12,
  disconnect: 14,
} as const;

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

/** Thrown while a packet is read; never leaves this file. */
class Malformed extends Error {}

export type PacketRules = {
  /** Judges a packet by its first byte, before the rest has arrived. */
  begins(header: number): string | undefined;
  /** Judges a whole packet. */
  whole(header: number, body: Buffer): string | undefined;
};

/** Judges the packets of one connection, in order. @returns the reason for which the connection must end, or undefined */
export function createPacketRules(): PacketRules {
  let connected = false;
  let over = false;

  function begins(header: number): string | undefined {
    const type = header >> 4;
    if (over) return 'a packet came after DISCONNECT [MQTT-3.14.4-2]';
    if (!connected && type !== types.connect) return `the first packet has type ${type}, not CONNECT [MQTT-3.1.0-1]`;
    if (connected && type === types.connect) return 'a second CONNECT [MQTT-3.1.0-2]';
    if (type === 0 || type === 15) return `packet type ${type} is reserved [MQTT-2.2.1]`;
    if (type !== types.publish && flagsOf[type] === undefined) return `packet type ${type} is not for clients to send`;
    return undefined;
  }

  return {
    begins,
    whole(header, body) {
      const [type, flags] = [header >> 4, header & 0x0f];
      const reason = begins(header);
      if (reason !== undefined) return reason;
      try {
        judge(type, flags, createReader(body));
      } catch (error) {
        if (error instanceof Malformed) return error.message;
        throw error;
      }
      connected = true;
      over = type === types.disconnect;
      return undefined;
    },
  };
}

function judge(type: number, flags: number, body: Reader): void {
  if (type === types.publish) judgePublish(flags, body);
  else {
    if (flags !== flagsOf[type]) throw new Malformed(`packet type ${type} has flags ${flags} [MQTT-2.2.2-2]`);
    if (type === types.connect) judgeConnect(body);
    else if (type === types.subscribe || type === types.unsubscribe) judgeFilters(type, body);
    else if (type !== types.pingreq && type !== types.disconnect) messageId(body);
  }
  if (body.left() > 0) throw new Malformed(`packet type ${type} is longer than its fields`);
}

/** The one reason that has an answer of its own. */
export const unacceptableLevel = 'an MQTT version other than 3.1 and 3.1.1 [MQTT-3.1.2-2]';

/** The protocol name of each supported protocol level. The parser of aedes looks at the level only. */
const nameOfLevel: Readonly<Record<number, string>> = { 3: 'MQIsdp', 4: 'MQTT' };

/** [MQTT-3.1] */
function judgeConnect(body: Reader): void {
  const [name, level] = [body.text('protocol name'), body.byte()];
  const version = nameOfLevel[level];
  // the layout after the level is unknown to us
  if (version === undefined) throw new Malformed(unacceptableLevel);
  if (name !== version)
    throw new Malformed(`protocol level ${level} does not go with this protocol name [MQTT-3.1.2-1]`);
  const flags = body.byte();
  const [userName, password, will] = [flags & 0x80, flags & 0x40, flags & 0x04];
  if ((flags & 1) !== 0) throw new Malformed('the reserved CONNECT flag is set [MQTT-3.1.2-3]');
  if (!will && (flags & 0x38) !== 0) throw new Malformed('will flags without a will [MQTT-3.1.2-11]');
  if (will && (flags & 0x18) === 0x18) throw new Malformed('a will with QoS 3 [MQTT-3.1.2-14]');
  if (!userName && password) throw new Malformed('a password without a user name [MQTT-3.1.2-22]');
  body.uint16();
  body.text('client id');
  if (will) {
    body.text('will topic');
    body.bytes(body.uint16());
  }
  if (userName) body.text('user name');
  if (password) body.bytes(body.uint16());
}

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
    if (body.text('topic filter') === '') throw new Malformed('an empty topic filter [MQTT-4.7.3-1]');
    if (type === types.subscribe && body.byte() > 2) throw new Malformed('a requested QoS above 2 [MQTT-3.8.3-4]');
  } while (body.left() > 0);
}

function messageId(body: Reader): void {
  if (body.uint16() === 0) throw new Malformed('message id 0 [MQTT-2.3.1-1]');
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

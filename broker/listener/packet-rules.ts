import { Deliveries } from './deliveries.ts';
import {
  createReader,
  judgeFilter,
  malformed,
  type Reader,
  readFilters,
  type Violation,
  violationOf,
} from './packet-reader.ts';
import { flagsOf, nameOfType, types } from './packet-types.ts';

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
      judge(type, flags, createReader(body, { what: nameOfType(type) }), this.#deliveries);
    } catch (error) {
      return violationOf(error);
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
  if (type !== types.publish && flagsOf[type] === undefined) return `${nameOfType(type)} is not for clients to send`;
  return undefined;
}

function judge(type: number, flags: number, body: Reader, deliveries: Deliveries): void {
  if (type === types.publish) judgePublish(flags, body);
  else {
    if (flags !== flagsOf[type]) throw malformed(`${nameOfType(type)} has flags ${flags} [MQTT-2.2.2-2]`);
    if (type === types.connect) judgeConnect(body);
    else if (type === types.subscribe || type === types.unsubscribe) judgeFilters(type, body);
    else if (type !== types.pingreq && type !== types.disconnect) judgeAcknowledgement(type, body, deliveries);
  }
  if (body.left() > 0)
    throw malformed(`${nameOfType(type)} is longer than its fields${type === types.connect ? propertiesOf5 : ''}`);
}

/** A client whose version was set to 3.1.1, and whose packets are still those of 5, say. */
const propertiesOf5 = ': are there properties of MQTT 5 in it, while its level is that of MQTT 3.1.1?';

/** CONNACK with this return code [MQTT-3.2.2]. */
const connack = (returnCode: number) => Buffer.from([types.connack << 4, 2, 0, returnCode]);
const [unacceptableVersion, identifierRejected] = [connack(1), connack(2)];

/** The protocol level of each supported protocol name. The parser of aedes looks at the level only. */
const levelOf: Readonly<Record<string, number>> = { MQIsdp: 3, MQTT: 4 };

/** [MQTT-3.1] */
function judgeConnect(body: Reader): void {
  const [name, level] = [body.text('protocol name'), body.byte()];
  // the layout after the level is unknown to us; that of MQTT 5 is judged in ../mqtt5/
  if (level !== 3 && level !== 4) throw malformed(otherVersion, { answer: unacceptableVersion });
  if (levelOf[name] === undefined) throw malformed('a protocol name other than MQTT and MQIsdp [MQTT-3.1.2-1]');
  if (levelOf[name] !== level) throw malformed(otherVersion, { answer: unacceptableVersion });
  const flags = body.byte();
  const [userName, password, will] = [flags & 0x80, flags & 0x40, flags & 0x04];
  if ((flags & 1) !== 0) throw malformed('the reserved CONNECT flag is set [MQTT-3.1.2-3]');
  if (!will && (flags & 0x38) !== 0) throw malformed('will flags without a will [MQTT-3.1.2-11]');
  if (will && (flags & 0x18) === 0x18) throw malformed('a will with QoS 3 [MQTT-3.1.2-14]');
  if (!userName && password) throw malformed('a password without a user name [MQTT-3.1.2-22]');
  body.uint16();
  const isClean = (flags & 2) !== 0;
  if (body.text('client id') === '' && !(isClean && level === 4))
    throw malformed('no client id, and no clean session [MQTT-3.1.3-8]', { answer: identifierRejected });
  if (will) {
    body.text('will topic');
    body.bytes(body.uint16());
  }
  if (userName) body.text('user name');
  if (password) body.bytes(body.uint16());
}

const otherVersion = 'an MQTT version other than 5, 3.1.1 and 3.1 [MQTT-3.1.2-2]';

/** [MQTT-3.3] */
function judgePublish(flags: number, body: Reader): void {
  const [qos, duplicate] = [(flags >> 1) & 3, flags & 8];
  if (qos === 3) throw malformed('QoS 3 [MQTT-3.3.1-4]');
  if (qos === 0 && duplicate) throw malformed('DUP with QoS 0 [MQTT-3.3.1-2]');
  const topic = body.text('topic');
  if (topic === '') throw malformed('an empty topic [MQTT-4.7.3-1]');
  if (/[+#]/.test(topic)) throw malformed('a topic with a wildcard [MQTT-3.3.2-2]');
  if (qos > 0) messageId(body);
  body.skip();
}

/** [MQTT-3.8] and [MQTT-3.10] */
function judgeFilters(type: number, body: Reader): void {
  messageId(body);
  readFilters(body, () => {
    judgeFilter(body.text('topic filter'));
    if (type === types.subscribe && body.byte() > 2) throw malformed('a requested QoS above 2 [MQTT-3.8.3-4]');
  });
}

/** [MQTT-3.4] to [MQTT-3.7] */
function judgeAcknowledgement(type: number, body: Reader, deliveries: Deliveries): void {
  const reason = deliveries.acknowledged(type, messageId(body));
  if (reason !== undefined) throw malformed(reason);
}

function messageId(body: Reader): number {
  const id = body.uint16();
  if (id === 0) throw malformed('message id 0 [MQTT-2.3.1-1]');
  return id;
}

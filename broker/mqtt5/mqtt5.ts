import { randomBytes } from 'node:crypto';
import type { MessageProperties } from '../../protocol/dialect.ts';
import { keepaliveFor, type Limits } from '../limits.ts';
import { Deliveries } from '../listener/deliveries.ts';
import { frameAt } from '../listener/mqtt-frame.ts';
import { malformed, type Violation, violationOf } from '../listener/packet-reader.ts';
import { flagsOf, nameOfType, types } from '../listener/packet-types.ts';
import { FilterCodes } from './filters.ts';
import { InFlight } from './in-flight.ts';
import {
  readAcknowledgement,
  readConnect,
  readDisconnect,
  readPublish,
  readSubscribe,
  readUnsubscribe,
} from './packets.ts';
import { createReader5, type Properties } from './properties.ts';
import { codes, connackCodeFor, reasonOfReturnCode } from './reason-codes.ts';
import {
  type ClientLimits,
  type ConnackProperties,
  connack,
  connackRefusal,
  disconnect,
  filterCodes,
  fits,
  puback,
  publish,
} from './sent.ts';

export type Mqtt5Limits = Pick<Limits, 'keepaliveSeconds' | 'maxPacketBytes' | 'maxRequestsPerConnection'>;

/** What a PUBLISH of the client said beside its message. */
export type Published = {
  readonly messageId: number | undefined;
  readonly responseTopic: string | undefined;
  readonly correlationData: Buffer | undefined;
  /** in milliseconds of the monotonic clock */
  readonly expiresAt: number | undefined;
};

const nothing = Buffer.alloc(0);

/** Before CONNECT nothing is known of the client. */
const unknownClient: ClientLimits = { maxPacketBytes: undefined, wantsReasons: true };

/** Messages that are on their way through the MQTT library, and whose properties wait for them. */
const maxExpected = 64;

/**
 * Translates one connection of a client that speaks MQTT 5, for a broker that speaks 3.1.1: each packet of the client is read to the letter and
 * becomes one of MQTT 3.1.1, each packet of the broker becomes one of MQTT 5. What 3.1.1 has no room for is kept here until it is asked for.
 * The order of calls is that of the packets. Clauses are those of MQTT 5.
 */
export class Mqtt5 {
  readonly #limits: Mqtt5Limits;
  readonly #write: (packet: Buffer) => void;
  readonly #end: (violation: Violation) => void;
  readonly #now: () => number;
  readonly #deliveries = new Deliveries();
  readonly #filters = new FilterCodes();
  #client = unknownClient;
  #inFlight = new InFlight(0, () => 0);
  #sessionExpiry = 0;
  #connack: Buffer = nothing;
  #phase: 'new' | 'connecting' | 'connected' | 'left' | 'ended' = 'new';
  /** messages of the client that are not acknowledged yet */
  readonly #unacknowledged = new Set<number>();
  #published: Published[] = [];
  /** what stands in the next refusal that the broker writes */
  #explanation: string | undefined;
  readonly #refused = new Map<number, { readonly code: number; readonly reason: string }>();
  #expected: { readonly payload: Buffer; readonly properties: MessageProperties }[] = [];
  #rest: Buffer = nothing;

  /**
   * @param to.write sends a packet to the client at once. @param to.end ends the connection, because of what the client did
   * @param now milliseconds of a clock that is never set
   */
  constructor(
    limits: Mqtt5Limits,
    to: { write(packet: Buffer): void; end(violation: Violation): void },
    now: () => number = processNow,
  ) {
    this.#limits = limits;
    this.#write = to.write;
    this.#end = to.end;
    this.#now = now;
  }

  /** The largest packet that the client takes, in bytes, header included; undefined: any. */
  get maxPacketBytes(): number | undefined {
    return this.#client.maxPacketBytes;
  }

  /** Judges a packet of the client by its first byte, before the rest has arrived. */
  begins(header: number): Violation | undefined {
    const reason = this.#orderReason(header >> 4);
    return reason === undefined ? undefined : { reason, code: codes.protocolError };
  }

  #orderReason(type: number): string | undefined {
    if (this.#phase === 'left') return 'a packet came after DISCONNECT [MQTT-3.14.4-1]';
    if (this.#phase === 'new' && type !== types.connect) return 'the first packet is not CONNECT [MQTT-3.1.0-1]';
    if (this.#phase !== 'new' && type === types.connect) return 'a second CONNECT [MQTT-3.1.0-2]';
    if (type === types.auth) return 'AUTH, and CONNECT had no Authentication Method [MQTT-4.12.0-6]';
    if (type === 0) return 'packet type 0 is reserved [MQTT 5, 2.1.2]';
    if (type !== types.publish && flagsOf[type] === undefined) return `${nameOfType(type)} is not for clients to send`;
    return undefined;
  }

  /** Takes a whole packet of the client. @returns what the broker gets in its place, which may be nothing; or why the connection must end */
  takes(header: number, body: Buffer): Buffer | Violation {
    const violation = this.begins(header);
    if (violation !== undefined) return violation;
    try {
      return this.#read(header, body);
    } catch (error) {
      return violationOf(error);
    }
  }

  #read(header: number, body: Buffer): Buffer {
    const [type, flags] = [header >> 4, header & 0x0f];
    if (type === types.publish) return this.#readPublish(header, body);
    if (flags !== flagsOf[type]) throw malformed(`${nameOfType(type)} has flags ${flags} [MQTT-2.1.3-1]`);
    if (type === types.connect) return this.#readConnect(body);
    if (type === types.subscribe) return this.#readSubscribe(body);
    if (type === types.unsubscribe) return this.#readUnsubscribe(body);
    if (type === types.disconnect) return this.#readDisconnect(body);
    if (type !== types.pingreq) return this.#readAcknowledgement(header, body);
    if (body.length > 0) throw malformed(`${nameOfType(type)} is longer than its fields`);
    return Buffer.from([header, 0]);
  }

  #readConnect(body: Buffer): Buffer {
    const hear = ({ maximumPacketSize, requestProblemInformation = true }: Properties) => {
      this.#client = { maxPacketBytes: maximumPacketSize, wantsReasons: requestProblemInformation };
    };
    const { older, properties, assignedClientId, keepalive } = readConnect(body, hear, newClientId);
    const { receiveMaximum = 0xffff, sessionExpiry = 0 } = properties;
    this.#inFlight = new InFlight(receiveMaximum, this.#now);
    this.#sessionExpiry = sessionExpiry;
    this.#connack = connack(this.#connackProperties(keepalive, assignedClientId));
    if (!fits(this.#connack, this.#client))
      throw malformed(
        `its Maximum Packet Size is ${this.maxPacketBytes}, and CONNACK has ${this.#connack.length} bytes`,
        {
          code: codes.packetTooLarge,
        },
      );
    this.#phase = 'connecting';
    // the password is in what the broker gets, and wiped there
    body.fill(0);
    return older;
  }

  #connackProperties(keepalive: number, assignedClientIdentifier: string | undefined): ConnackProperties {
    const { keepaliveSeconds, maxPacketBytes, maxRequestsPerConnection } = this.#limits;
    const serverKeepAlive = keepaliveFor(keepalive, { keepaliveSeconds });
    return {
      ...(this.#sessionExpiry === 0 ? {} : { sessionExpiryInterval: 0 }),
      receiveMaximum: maxRequestsPerConnection,
      maximumQoS: 1,
      retainAvailable: false,
      maximumPacketSize: maxPacketBytes,
      ...(assignedClientIdentifier === undefined ? {} : { assignedClientIdentifier }),
      subscriptionIdentifiersAvailable: false,
      sharedSubscriptionAvailable: false,
      ...(serverKeepAlive === keepalive ? {} : { serverKeepAlive }),
    };
  }

  #readPublish(header: number, body: Buffer): Buffer {
    const { older, messageId, properties } = readPublish(header, body);
    if (messageId !== undefined) this.#unacknowledged.add(messageId);
    if (this.#unacknowledged.size > this.#limits.maxRequestsPerConnection)
      throw malformed(`more than ${this.#limits.maxRequestsPerConnection} messages without PUBACK [MQTT-3.3.4-7]`, {
        code: codes.receiveMaximumExceeded,
      });
    const { responseTopic, correlationData, messageExpiry } = properties;
    const expiresAt = messageExpiry === undefined ? undefined : this.#now() + messageExpiry * 1000;
    const ownData = correlationData === undefined ? undefined : Buffer.from(correlationData);
    this.#published.push({ messageId, responseTopic, correlationData: ownData, expiresAt });
    // a token may be in it; the broker gets a copy, and wipes that
    body.fill(0);
    return older;
  }

  #readSubscribe(body: Buffer): Buffer {
    const { older, messageId, filters, subscriptionId } = readSubscribe(body);
    if (subscriptionId !== undefined) {
      const refused = filters.map(() => codes.subscriptionIdsNotSupported);
      const cure = 'Subscription Identifiers are not offered: subscribe without one';
      this.#say(filterCodes('suback', messageId, refused, cure, this.#client));
      return nothing;
    }
    this.#filters.asked(messageId, filters);
    return older;
  }

  #readUnsubscribe(body: Buffer): Buffer {
    const { older, messageId, filters } = readUnsubscribe(body);
    this.#filters.asked(messageId, filters);
    return older;
  }

  #readAcknowledgement(header: number, body: Buffer): Buffer {
    const { older, messageId, reasonCode } = readAcknowledgement(header, body);
    const reason = this.#deliveries.acknowledged(header >> 4, messageId);
    if (reason !== undefined) throw malformed(reason, { code: codes.protocolError });
    if (header >> 4 === types.puback) {
      const next = this.#inFlight.acknowledged(messageId);
      if (next !== undefined) this.#say(next);
    }
    // a PUBREC that refuses ends the delivery [MQTT 5, 4.3.3]
    return header >> 4 === types.pubrec && reasonCode >= codes.unspecifiedError ? nothing : older;
  }

  #readDisconnect(body: Buffer): Buffer {
    const sessionExpiry = readDisconnect(body);
    if (this.#sessionExpiry === 0 && sessionExpiry !== undefined && sessionExpiry > 0)
      throw malformed('a Session Expiry Interval in DISCONNECT, and none in CONNECT [MQTT 5, 3.14.2.2.2]', {
        code: codes.protocolError,
      });
    this.#phase = 'left';
    return Buffer.from([types.disconnect << 4, 0]);
  }

  /** The properties of the PUBLISH that the broker takes in next. Each is asked for once, in their order. */
  takePublished(): Published | undefined {
    return this.#published.shift();
  }

  /** The PUBACK of this message is a refusal. */
  refuseMessage(messageId: number, code: number, reason: string): void {
    this.#refused.set(messageId, { code, reason });
  }

  /** The CONNACK or SUBACK that the broker writes next is a refusal, for this reason. */
  explain(reason: string): void {
    this.#explanation = reason;
  }

  /** A message with this payload is about to be written by the broker, and has these properties. */
  expectMessage(payload: Buffer, properties: MessageProperties): void {
    this.#expected.push({ payload, properties });
    if (this.#expected.length > maxExpected) this.#expected.shift();
  }

  /** Takes what the broker writes, chunk by chunk. @returns what the client gets in its place, which may be nothing */
  sends(written: Buffer): Buffer {
    let data = this.#rest.length === 0 ? written : Buffer.concat([this.#rest, written]);
    const packets: Buffer[] = [];
    for (let frame = frameAt(data, 0); typeof frame === 'object'; frame = frameAt(data, 0)) {
      const end = frame.bodyAt + frame.length;
      if (data.length < end) break;
      const packet = this.#newer(data.subarray(0, end), data.subarray(frame.bodyAt, end));
      // one that is too large is not sent [MQTT-3.1.2-25]
      if (packet !== undefined && fits(packet, this.#client) && this.#phase !== 'ended') packets.push(packet);
      data = data.subarray(end);
    }
    this.#rest = data.length === 0 ? nothing : data;
    return packets.length === 1 ? (packets[0] as Buffer) : Buffer.concat(packets);
  }

  #newer(packet: Buffer, body: Buffer): Buffer | undefined {
    const [header = 0] = packet;
    switch (header >> 4) {
      case types.connack:
        return this.#newConnack(body[1] ?? 0);
      case types.puback:
        return this.#newPuback(body.readUInt16BE(0));
      case types.publish:
        return this.#newPublish(header, body);
      case types.suback:
        return this.#newSuback(body);
      case types.unsuback: {
        const messageId = body.readUInt16BE(0);
        return filterCodes('unsuback', messageId, this.#filters.unsubscribed(messageId), undefined, this.#client);
      }
      default:
        return packet;
    }
  }

  #newConnack(returnCode: number): Buffer {
    if (returnCode !== 0) return connackRefusal(reasonOfReturnCode(returnCode), this.#takeExplanation(), this.#client);
    this.#phase = 'connected';
    const packet = this.#connack;
    this.#connack = nothing;
    return packet;
  }

  #newPuback(messageId: number): Buffer {
    this.#unacknowledged.delete(messageId);
    const { code = codes.success, reason } = this.#refused.get(messageId) ?? {};
    this.#refused.delete(messageId);
    return puback(messageId, code, reason, this.#client);
  }

  #newSuback(body: Buffer): Buffer {
    const messageId = body.readUInt16BE(0);
    const granted = this.#filters.subscribed(messageId, [...body.subarray(2)]);
    const explanation = this.#takeExplanation();
    const reason = granted.some((code) => code >= codes.unspecifiedError) ? explanation : undefined;
    return filterCodes('suback', messageId, granted, reason, this.#client);
  }

  #takeExplanation(): string | undefined {
    const explanation = this.#explanation;
    this.#explanation = undefined;
    return explanation;
  }

  #newPublish(header: number, body: Buffer): Buffer | undefined {
    const reader = createReader5(body, types.publish);
    const [topic, qos] = [reader.bytes(reader.uint16()).toString(), (header >> 1) & 3];
    const messageId = qos === 0 ? undefined : reader.uint16();
    const payload = reader.bytes(reader.left());
    const properties = this.#propertiesOf(payload);
    const write = (seconds: number) => {
      const expirySeconds = properties.expirySeconds === undefined ? undefined : seconds;
      return publish(header, topic, messageId, payload, { ...properties, expirySeconds });
    };
    if (messageId === undefined) return write(properties.expirySeconds ?? 0);
    this.#deliveries.sent(header, messageId);
    const packet = this.#inFlight.send(messageId, properties.expirySeconds, write);
    if (packet === 'full') {
      this.#end({
        code: codes.quotaExceeded,
        reason: 'it acknowledges no message: send a PUBACK for each [MQTT-4.3.2-4]',
      });
      return undefined;
    }
    return packet === 'waits' ? undefined : packet;
  }

  #propertiesOf(payload: Buffer): MessageProperties {
    const at = this.#expected.findIndex((each) => each.payload.equals(payload));
    if (at < 0) return {};
    const [found] = this.#expected.splice(at, 1);
    return found?.properties ?? {};
  }

  /** Says why the connection is about to end: the last packet that the client gets. @returns whether it was said now */
  farewell(code: number, reason: string): boolean {
    if (this.#phase === 'ended') return false;
    const isConnected = this.#phase === 'connected' || this.#phase === 'left';
    const packet = isConnected
      ? disconnect(code, reason, this.#client)
      : connackRefusal(connackCodeFor(code), reason, this.#client);
    this.#phase = 'ended';
    if (fits(packet, this.#client)) this.#write(packet);
    return true;
  }

  #say(packet: Buffer): void {
    if (fits(packet, this.#client)) this.#write(packet);
  }
}

const newClientId = (): string => randomBytes(16).toString('base64url');

const processNow = (): number => performance.now();

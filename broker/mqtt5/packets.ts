import { judgeFilter, malformed, type Reader, readFilters } from '../listener/packet-reader.ts';
import { nameOfType, types } from '../listener/packet-types.ts';
import { field, packetOf, uint16 } from './bytes.ts';
import { createReader5, type Properties, readProperties } from './properties.ts';
import { acknowledgementCodes, codes, releaseCodes } from './reason-codes.ts';

/*
 * The packets of a client of MQTT 5, read to the letter. Each reader gives the same packet in MQTT 3.1.1, `older`, and what MQTT 3.1.1 has no
 * room for. Clauses are those of MQTT 5.
 */

const level5 = Buffer.concat([...field('MQTT'), Buffer.from([5])]);

/** Whether this is the body of a CONNECT of MQTT 5. */
export const isConnect5 = (body: Buffer): boolean => body.subarray(0, level5.length).equals(level5);

export type Connect = {
  readonly older: Buffer;
  readonly properties: Properties;
  /** that the client got from us, since it named none */
  readonly assignedClientId: string | undefined;
  /** seconds, 0 for none */
  readonly keepalive: number;
};

/**
 * [MQTT-3.1]. @param hear gets the properties as soon as they are read: a refusal of what follows them keeps to what they say of packets, too
 * @param newClientId for a client without one [MQTT-3.1.3-6]
 */
export function readConnect(
  packet: Buffer,
  hear: (properties: Properties) => void,
  newClientId: () => string,
): Connect {
  const body = createReader5(packet, types.connect);
  body.bytes(level5.length);
  const flags = body.byte();
  const keepalive = body.uint16();
  judgeConnectFlags(flags);
  const properties = readProperties(body, 'connect');
  hear(properties);
  judgeAuthentication(properties);
  const named = body.text('client id');
  const assignedClientId = named === '' ? newClientId() : undefined;
  const payload = [...field(assignedClientId ?? named), ...readCredentials(flags, body)];
  end(body, types.connect);
  // sessions are always clean: nothing waits for a device that is away
  const head = [...field('MQTT'), Buffer.from([4, flags | cleanStart]), uint16(keepalive)];
  return { older: packetOf(types.connect << 4, ...head, ...payload), properties, assignedClientId, keepalive };
}

const cleanStart = 0x02;

function judgeConnectFlags(flags: number): void {
  const will = flags & 0x04;
  if ((flags & 1) !== 0) throw malformed('the reserved CONNECT flag is set [MQTT-3.1.2-3]');
  if (!will && (flags & 0x38) !== 0) throw malformed('will flags without a will [MQTT-3.1.2-11, 3.1.2-13]');
  if (will && (flags & 0x18) === 0x18) throw malformed('a will with QoS 3 [MQTT-3.1.2-12]');
}

function judgeAuthentication({ authenticationMethod, authenticationData }: Properties): void {
  const code = codes.badAuthenticationMethod;
  if (authenticationMethod !== undefined)
    throw malformed('no Authentication Method is offered: present the token as the password [MQTT-4.12.0-1]', { code });
  if (authenticationData !== undefined)
    throw malformed('Authentication Data without a method [MQTT 5, 3.1.2.11.10]', { code: codes.protocolError });
}

/** What follows the client id, without the properties of the will. */
function readCredentials(flags: number, body: Reader): Buffer[] {
  const fields: Buffer[] = [];
  if ((flags & 0x04) !== 0) {
    readProperties(body, 'will');
    fields.push(...field(body.text('will topic')), ...field(body.bytes(body.uint16())));
  }
  if ((flags & 0x80) !== 0) fields.push(...field(body.text('user name')));
  if ((flags & 0x40) !== 0) fields.push(...field(body.bytes(body.uint16())));
  return fields;
}

export type Publish = {
  readonly older: Buffer;
  /** undefined with QoS 0 */
  readonly messageId: number | undefined;
  readonly properties: Properties;
};

/** [MQTT-3.3] */
export function readPublish(header: number, packet: Buffer): Publish {
  const qos = (header >> 1) & 3;
  if (qos === 3) throw malformed('QoS 3 [MQTT-3.3.1-4]');
  if (qos === 0 && (header & 8) !== 0) throw malformed('DUP with QoS 0 [MQTT-3.3.1-2]');
  const body = createReader5(packet, types.publish);
  const topic = body.text('topic');
  if (/[+#]/.test(topic)) throw malformed('a topic with a wildcard [MQTT-3.3.2-2]');
  const messageId = qos === 0 ? undefined : readMessageId(body);
  judgeOffered(header);
  const properties = readProperties(body, 'publish');
  judgePublishProperties(topic, properties);
  const id = messageId === undefined ? [] : [uint16(messageId)];
  return { older: packetOf(header, ...field(topic), ...id, body.bytes(body.left())), messageId, properties };
}

/** What CONNACK says is not offered. */
function judgeOffered(header: number): void {
  if (((header >> 1) & 3) === 2)
    throw malformed('QoS 2 is not offered: publish with QoS 1 [MQTT-3.2.2-11]', { code: codes.qosNotSupported });
  if ((header & 1) !== 0)
    throw malformed('it must not be a retained message: publish with the retain flag off [MQTT-3.2.2-14]', {
      code: codes.retainNotSupported,
    });
}

function judgePublishProperties(topic: string, { topicAlias, subscriptionId, responseTopic }: Properties): void {
  if (topicAlias !== undefined)
    throw malformed('a Topic Alias: Topic Alias Maximum is 0, write the topic into each PUBLISH [MQTT-3.3.2-9]', {
      code: codes.topicAliasInvalid,
    });
  if (topic === '') throw malformed('an empty topic [MQTT-4.7.3-1]');
  const code = codes.protocolError;
  if (subscriptionId !== undefined)
    throw malformed('a PUBLISH of a client with a Subscription Identifier [MQTT-3.3.4-6]', { code });
  if (responseTopic !== undefined && (responseTopic === '' || /[+#]/.test(responseTopic)))
    throw malformed('a Response Topic that is empty or has a wildcard [MQTT-3.3.2-14]', { code });
}

export type Subscribe = {
  readonly older: Buffer;
  readonly messageId: number;
  readonly filters: readonly string[];
  readonly subscriptionId: number | undefined;
};

/** [MQTT-3.8] */
export function readSubscribe(packet: Buffer): Subscribe {
  const body = createReader5(packet, types.subscribe);
  const messageId = readMessageId(body);
  const { subscriptionId } = readProperties(body, 'subscribe');
  const [filters, subscriptions]: [string[], Buffer[]] = [[], []];
  readFilters(body, () => {
    const filter = readFilter(body);
    const options = body.byte();
    judgeSubscriptionOptions(filter, options);
    filters.push(filter);
    subscriptions.push(...field(filter), Buffer.from([options & 3]));
  });
  const older = packetOf((types.subscribe << 4) | 2, uint16(messageId), ...subscriptions);
  return { older, messageId, filters, subscriptionId };
}

function readFilter(body: Reader): string {
  const filter = body.text('topic filter');
  judgeFilter(filter);
  return filter;
}

/** A share name, and a filter behind it [MQTT-4.8.2-1, 4.8.2-2]. */
const wellFormedShare = /^\$share\/[^/+#]+\/./;

/** [MQTT 5, 3.8.3.1] */
function judgeSubscriptionOptions(filter: string, options: number): void {
  if ((options & 3) === 3) throw malformed('a requested QoS above 2 [MQTT 5, 3.8.3.1]');
  if ((options & 0x30) === 0x30) throw malformed('Retain Handling 3 [MQTT 5, 3.8.3.1]', { code: codes.protocolError });
  if ((options & 0xc0) !== 0) throw malformed('reserved bits of the Subscription Options are set [MQTT-3.8.3-5]');
  if (!filter.startsWith('$share/')) return;
  if (!wellFormedShare.test(filter))
    throw malformed('a shared subscription without a name or a filter [MQTT-4.8.2-1]', { code: codes.protocolError });
  if ((options & 4) !== 0)
    throw malformed('No Local on a shared subscription [MQTT-3.8.3-4]', { code: codes.protocolError });
}

export type Unsubscribe = Omit<Subscribe, 'subscriptionId'>;

/** [MQTT-3.10] */
export function readUnsubscribe(packet: Buffer): Unsubscribe {
  const body = createReader5(packet, types.unsubscribe);
  const messageId = readMessageId(body);
  readProperties(body, 'unsubscribe');
  const filters: string[] = [];
  readFilters(body, () => filters.push(readFilter(body)));
  return {
    older: packetOf((types.unsubscribe << 4) | 2, uint16(messageId), ...filters.flatMap((each) => field(each))),
    messageId,
    filters,
  };
}

export type Acknowledgement = {
  readonly older: Buffer;
  readonly messageId: number;
  readonly reasonCode: number;
};

/** PUBACK, PUBREC, PUBREL or PUBCOMP [MQTT-3.4] to [MQTT-3.7]. */
export function readAcknowledgement(header: number, packet: Buffer): Acknowledgement {
  const type = header >> 4;
  const body = createReader5(packet, type);
  const messageId = readMessageId(body);
  const reasonCode = body.left() === 0 ? codes.success : body.byte();
  if (body.left() > 0) readProperties(body, 'acknowledgement');
  end(body, type);
  const may = type === types.puback || type === types.pubrec ? acknowledgementCodes : releaseCodes;
  if (!may.has(reasonCode))
    throw malformed(`${nameOfType(type)} has reason code ${reasonCode} [MQTT-3.4.2-1]`, { code: codes.protocolError });
  return { older: packetOf(header, uint16(messageId)), messageId, reasonCode };
}

/** [MQTT-3.14]. The reason code is the client's own, and of no use here. @returns the Session Expiry Interval, in seconds */
export function readDisconnect(packet: Buffer): number | undefined {
  const body = createReader5(packet, types.disconnect);
  if (body.left() > 0) body.byte();
  const { sessionExpiry } = body.left() > 0 ? readProperties(body, 'disconnect') : {};
  end(body, types.disconnect);
  return sessionExpiry;
}

function readMessageId(body: Reader): number {
  const id = body.uint16();
  if (id === 0) throw malformed('message id 0 [MQTT-2.2.1-3]', { code: codes.protocolError });
  return id;
}

function end(body: Reader, type: number): void {
  if (body.left() > 0) throw malformed(`${nameOfType(type)} is longer than its fields`);
}

import { generate, type Packet } from 'mqtt-packet';
import type { MessageProperties } from '../../protocol/dialect.ts';
import { types } from '../listener/packet-types.ts';
import { packetOf, uint16, variable } from './bytes.ts';

/*
 * The packets of this gateway for a client of MQTT 5. Each is as short as the standard lets it be: a reason code alone needs no properties
 * behind it [MQTT 5, 3.4.2.2.1, 3.14.2.2.1].
 */

/** What a client said in its CONNECT about the packets that it takes. */
export type ClientLimits = {
  /** header included [MQTT-3.1.2-24]; undefined: any */
  readonly maxPacketBytes: number | undefined;
  /** false: Request Problem Information is 0 [MQTT-3.1.2-29] */
  readonly wantsReasons: boolean;
};

export const fits = ({ length }: Buffer, { maxPacketBytes }: ClientLimits): boolean =>
  maxPacketBytes === undefined || length <= maxPacketBytes;

const write = (packet: object): Buffer => generate(packet as Packet, { protocolVersion: 5 } as never);

/** With the Reason String, where the client wants it and it fits; without it otherwise [MQTT-3.2.2-19, MQTT-3.14.2-3]. */
function explained(reason: string | undefined, client: ClientLimits, short: Buffer, long: () => object): Buffer {
  if (reason === undefined || !client.wantsReasons) return short;
  const whole = write(long());
  return fits(whole, client) ? whole : short;
}

export type ConnackProperties = NonNullable<Extract<Packet, { cmd: 'connack' }>['properties']>;

export const connack = (properties: ConnackProperties): Buffer =>
  write({ cmd: 'connack', sessionPresent: false, reasonCode: 0, properties });

export function connackRefusal(reasonCode: number, reasonString: string | undefined, client: ClientLimits): Buffer {
  const short = packetOf(types.connack << 4, Buffer.from([0, reasonCode, 0]));
  return explained(reasonString, client, short, () => ({
    ...{ cmd: 'connack', sessionPresent: false, reasonCode, properties: { reasonString } },
  }));
}

export function disconnect(reasonCode: number, reasonString: string | undefined, client: ClientLimits): Buffer {
  const short = packetOf(types.disconnect << 4, Buffer.from([reasonCode]));
  return explained(reasonString, client, short, () => ({
    cmd: 'disconnect',
    reasonCode,
    properties: { reasonString },
  }));
}

export function puback(
  messageId: number,
  reasonCode: number,
  reasonString: string | undefined,
  client: ClientLimits,
): Buffer {
  const code = reasonCode === 0 ? [] : [Buffer.from([reasonCode])];
  const short = packetOf(types.puback << 4, uint16(messageId), ...code);
  return explained(reasonString, client, short, () => ({
    ...{ cmd: 'puback', messageId, reasonCode, properties: { reasonString } },
  }));
}

/** SUBACK or UNSUBACK, with a reason code for each filter. */
export function filterCodes(
  cmd: 'suback' | 'unsuback',
  messageId: number,
  granted: readonly number[],
  reasonString: string | undefined,
  client: ClientLimits,
): Buffer {
  const short = packetOf(types[cmd] << 4, uint16(messageId), Buffer.from([0, ...granted]));
  return explained(reasonString, client, short, () => ({ cmd, messageId, granted, properties: { reasonString } }));
}

/** @param header the first byte. @param messageId undefined with QoS 0 */
export function publish(
  header: number,
  topic: string,
  messageId: number | undefined,
  payload: Buffer,
  { correlationData, expirySeconds }: MessageProperties,
): Buffer {
  const properties = {
    ...(correlationData === undefined ? {} : { correlationData }),
    ...(expirySeconds === undefined ? {} : { messageExpiryInterval: expirySeconds }),
  };
  const qos = (header >> 1) & 3;
  return write({ cmd: 'publish', topic, payload, qos, dup: (header & 8) !== 0, retain: false, messageId, properties });
}

/** How many bytes the properties of a PUBLISH take, with the length that stands before them [MQTT 5, 3.3.2.3]. */
export function propertyBytes({ correlationData, expirySeconds }: MessageProperties): number {
  const length =
    (correlationData === undefined ? 0 : 3 + correlationData.length) + (expirySeconds === undefined ? 0 : 5);
  return variable(length).length + length;
}

import { encode } from 'cborg';
import { replyTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { connectRaw, connectWith, packet, publishOf, type RawPacket, subscribeTo, text } from './raw-mqtt.ts';
import type { SmallLink } from './small-device.ts';

const [publish, puback] = [3, 4];

/** Bytes of a whole packet, as they came. */
export const wholeBytes = ({ type, flags, body }: RawPacket): number => packet((type << 4) | flags, body).length;

/** Topic, message id and payload of a PUBLISH with QoS 1, or with QoS 0, which has no id. */
export function readPublish({ flags, body }: RawPacket) {
  const idAt = 2 + body.readUInt16BE(0);
  const hasId = (flags & 6) !== 0;
  return {
    topic: body.toString('utf8', 2, idAt),
    id: hasId ? body.readUInt16BE(idAt) : undefined,
    payload: body.subarray(hasId ? idAt + 2 : idAt),
  };
}

export const pubackOf = (id: number): Buffer => packet(puback << 4, Buffer.from([id >> 8, id & 0xff]));

/**
 * A TLS connection of a device that asks for parts and acknowledges them by itself. `packets` has all that came, so a test sees that none
 * was too large.
 */
export async function connectSmall(
  broker: { port: number; caPem: string },
  device: { serial: string; token: string; request: object; encoding: 'json' | 'cbor'; subscribe?: boolean },
  heard: (payload: Buffer, acknowledge: () => void) => void,
): Promise<SmallLink & { packets: RawPacket[]; closed: Promise<void> }> {
  const { serial, token, request, encoding, subscribe = true } = device;
  const raw = await connectRaw(broker);
  const topic = replyTopic(serial);
  let seen = 0;
  // after the reader, which listens first
  raw.socket.on('data', () => {
    for (; seen < raw.heard.length; seen++) {
      const each = raw.heard[seen] as RawPacket;
      if (each.type !== publish) continue;
      const { id, payload, ...published } = readPublish(each);
      if (published.topic !== topic) throw new Error(`a message on ${published.topic}`);
      heard(payload, () => (id === undefined ? undefined : void raw.send(pubackOf(id))));
    }
  });
  raw.send(connectWith(serial, { flags: 0xc2, payload: [text(serial), text(token)] }));
  if (subscribe) raw.send(subscribeTo(topic));
  return {
    packets: raw.heard,
    closed: raw.closed,
    ask(part) {
      const body = part === 0 ? request : { ...request, part };
      const payload = encoding === 'json' ? JSON.stringify(body) : Buffer.from(encode(body));
      raw.send(publishOf(requestTopic(serial), payload, { id: 7 }));
    },
    close: () => void raw.socket.destroy(),
  };
}

import { generate, type Packet, parser } from 'mqtt-packet';
import { frameAt } from '../broker/listener/mqtt-frame.ts';

/** MQTT's version as CONNECT names it: 3 (3.1), 4 (3.1.1) or 5. */
export type MqttVersion = 3 | 4 | 5;

/** No packet that a device or a gateway sends is nearly as long. Bytes. */
const longestPacket = 256 * 1024;

/**
 * Takes the whole packets off the front of `bytes`, as bytes: what is passed on must be what came.
 * @throws Error when this is not MQTT
 */
export function takeFrames(bytes: Buffer): { frames: Buffer[]; rest: Buffer } {
  const frames: Buffer[] = [];
  let at = 0;
  for (;;) {
    const frame = frameAt(bytes, at);
    if (typeof frame === 'string') throw new Error(`this is not MQTT: ${frame}`);
    if (frame === undefined) break;
    if (frame.length > longestPacket) throw new Error(`this is not MQTT: a packet announces ${frame.length} bytes`);
    const end = frame.bodyAt + frame.length;
    if (end > bytes.length) break;
    frames.push(bytes.subarray(at, end));
    at = end;
  }
  return { frames, rest: bytes.subarray(at) };
}

/** Reads one whole packet. @throws Error when it is malformed */
export function readPacket(frame: Buffer, protocolVersion: MqttVersion): Packet {
  let read: Packet | undefined;
  const reader = parser({ protocolVersion });
  reader.on('packet', (packet) => {
    read = packet;
  });
  reader.on('error', (error: unknown) => {
    throw error;
  });
  reader.parse(frame);
  if (read === undefined) throw new Error('a packet is not whole');
  return read;
}

export const writePacket = (packet: Packet, protocolVersion: MqttVersion): Buffer =>
  generate(packet, { protocolVersion });

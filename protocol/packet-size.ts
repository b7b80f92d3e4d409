/**
 * The longest payload of a PUBLISH with QoS 1 to this topic of which the whole packet has at most `maxPacket` bytes: header byte, remaining length
 * (1 to 4 bytes), topic with its length, packet id, payload [MQTT 3.1.1, 2.2.3 and 3.3]. Negative where not even the topic fits.
 * @param extraBytes what the packet has beside these: the properties of MQTT 5, say
 */
export function payloadRoom(topic: string, maxPacket: number, extraBytes = 0): number {
  // a longer remaining length takes a byte more: where the next byte pays only from the one after it on, it stays unused
  const remaining = [1, 2, 3, 4].map((count) => Math.min(maxPacket - 1 - count, 128 ** count - 1));
  return Math.max(...remaining) - (2 + Buffer.byteLength(topic)) - 2 - extraBytes;
}

/** The smallest `maxPacket` that leaves room for a payload of this size, in bytes. */
export function packetFor(topic: string, payloadBytes: number, extraBytes = 0): number {
  let least = Buffer.byteLength(topic) + payloadBytes + extraBytes;
  while (payloadRoom(topic, least, extraBytes) < payloadBytes) least++;
  return least;
}

/** The largest packet that MQTT has [MQTT 3.1.1, 2.2.3], in bytes. */
export const largestPacket = 268_435_455;

import { Duplex } from 'node:stream';

/** A connection whose MQTT frames are watched. `remoteAddress` stays readable after the socket has gone. */
export type GuardedStream = Duplex & { readonly remoteAddress: string | undefined };

/** MQTT control packet types [MQTT 3.1.1, table 2.1]; 0 and 15 are reserved. */
const connect = 1;
const reserved = [0, 15];

/**
 * Follows the framing of an MQTT byte stream: fixed header byte, then the remaining length [MQTT 3.1.1, 2.2.3], then that many
 * bytes that are skipped unread. Returns a function that takes the stream chunk by chunk and answers with the reason
 * for which the connection must end, or undefined. After a reason it must not be called again.
 */
function followFrames(maxPacketBytes: number): (chunk: Uint8Array) => string | undefined {
  let part: 'header' | 'length' | 'body' = 'header';
  let first = true;
  let length = 0;
  let lengthBytes = 0;

  function header(byte: number): string | undefined {
    const type = byte >> 4;
    // [MQTT-3.1.0-1]: the first packet must be CONNECT
    if (first && type !== connect) return `the first packet has type ${type}, not CONNECT`;
    if (reserved.includes(type)) return `packet type ${type} is reserved`;
    first = false;
    length = 0;
    lengthBytes = 0;
    part = 'length';
    return undefined;
  }

  function lengthByte(byte: number): string | undefined {
    length += (byte & 0x7f) * 128 ** lengthBytes;
    lengthBytes += 1;
    const more = byte >= 0x80;
    if (more && lengthBytes === 4) return 'the remaining length is malformed: it has more than 4 bytes';
    if (more) return undefined;
    if (length > maxPacketBytes)
      return `a packet of ${length} bytes was announced; at most ${maxPacketBytes} are taken`;
    part = length === 0 ? 'header' : 'body';
    return undefined;
  }

  return (chunk) => {
    let at = 0;
    while (at < chunk.length) {
      if (part === 'body') {
        const skipped = Math.min(length, chunk.length - at);
        length -= skipped;
        at += skipped;
        if (length === 0) part = 'header';
        continue;
      }
      const byte = chunk[at] ?? 0;
      at += 1;
      const reason = part === 'header' ? header(byte) : lengthByte(byte);
      if (reason !== undefined) return reason;
    }
    return undefined;
  };
}

/**
 * Stands between a (TLS) socket and the broker – `broker.handle(guardFrames(socket, …))` – because aedes 1.x collects a
 * whole packet, up to 256 MiB, before it looks at it, also from peers that have proved nothing. Knows MQTT's framing
 * only; bodies pass through uncopied.
 *
 * On a remaining length above `limits.maxPacketBytes`, a malformed one, a reserved packet type or a first packet that is
 * not CONNECT, `onViolation` gets the reason (no payload in it; the socket is still open, so its address can be read)
 * and then both sides are destroyed, before the body is read. Errors and ends of the socket come out of the returned
 * stream; destroying either side destroys the other.
 */
export function guardFrames(
  socket: Duplex,
  limits: { readonly maxPacketBytes: number },
  onViolation: (reason: string) => void,
): GuardedStream {
  const violation = followFrames(limits.maxPacketBytes);
  let ended = false;

  const guard = new Duplex({
    allowHalfOpen: false,
    read() {
      socket.resume();
    },
    write(chunk: Buffer, _encoding, done) {
      socket.write(chunk, done);
    },
    // mqtt-packet writes a packet field by field under cork; without writev each field would be a TLS record of its own
    writev(chunks, done) {
      socket.cork();
      chunks.forEach(({ chunk }, i) => {
        socket.write(chunk, i === chunks.length - 1 ? done : undefined);
      });
      socket.uncork();
    },
    final(done) {
      if (socket.destroyed || socket.writableEnded) done();
      else socket.end(() => done());
    },
    destroy(error, done) {
      socket.destroy();
      done(error);
    },
  });

  socket.on('data', (chunk: Buffer) => {
    if (guard.destroyed) return;
    const reason = violation(chunk);
    if (reason !== undefined) {
      onViolation(reason);
      guard.destroy();
    } else if (!guard.push(chunk)) {
      socket.pause();
    }
  });
  socket.on('end', () => {
    ended = true;
    guard.push(null);
  });
  socket.on('error', (error) => guard.destroy(error));
  // After an orderly end the broker may still be busy with what was sent before it: the guard then closes when that is read.
  socket.on('close', () => {
    if (!ended || guard.readableEnded) guard.destroy();
  });
  if (socket.destroyed) guard.destroy();

  const { remoteAddress } = socket as { remoteAddress?: string };
  return Object.assign(guard, { remoteAddress });
}

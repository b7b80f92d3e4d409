import { Duplex } from 'node:stream';
import { createPacketRules } from './packet-rules.ts';

/** A connection whose MQTT frames are watched. `remoteAddress` stays readable after the socket has gone. */
export type GuardedStream = Duplex & { readonly remoteAddress: string | undefined };

export type FrameLimits = {
  /** of the CONNECT packet: whoever sends it has proved nothing yet */
  readonly maxConnectBytes: number;
  readonly maxPacketBytes: number;
  /** from the first byte of a packet to its last, in milliseconds */
  readonly packetMs: number;
};

const nothing = Buffer.alloc(0);

/**
 * Cuts a byte stream into MQTT packets: fixed header byte, then the remaining length [MQTT 3.1.1, 2.2.3], then that many
 * bytes. Takes the stream chunk by chunk and answers with the packets that are complete by now, as they came; or with the
 * reason for which the connection must end. After a reason it must not be called again.
 */
function followFrames(
  limits: FrameLimits,
): (chunk: Buffer) => { whole: Buffer; partial: boolean } | { reason: string } {
  const rules = createPacketRules();
  let rest: Buffer = nothing;
  let max = limits.maxConnectBytes;

  return (chunk) => {
    const data = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    for (;;) {
      const unfit = at < data.length ? rules.begins(data[at] ?? 0) : undefined;
      if (unfit !== undefined) return { reason: unfit };
      const frame = frameAt(data, at);
      if (typeof frame === 'string') return { reason: frame };
      if (frame === undefined) break;
      if (frame.length > max)
        return { reason: `a packet of ${frame.length} bytes was announced; at most ${max} are taken` };
      const end = frame.bodyAt + frame.length;
      if (end > data.length) break;
      const reason = rules.whole(data[at] ?? 0, data.subarray(frame.bodyAt, end));
      if (reason !== undefined) return { reason };
      max = limits.maxPacketBytes;
      at = end;
    }
    rest = at === data.length ? nothing : data.subarray(at);
    return { whole: data.subarray(0, at), partial: rest.length > 0 };
  };
}

/** Where the body of the packet at `at` begins, and its length; undefined when its header is not complete yet; or what is wrong with it. */
function frameAt(data: Buffer, at: number): { bodyAt: number; length: number } | string | undefined {
  let length = 0;
  for (let count = 0; count < 4; count++) {
    const byte = data[at + 1 + count];
    if (byte === undefined) return undefined;
    length += (byte & 0x7f) * 128 ** count;
    if (byte < 0x80) return { bodyAt: at + 2 + count, length };
  }
  return 'the remaining length is malformed: it has more than 4 bytes';
}

/**
 * Stands between a (TLS) socket and the broker – `broker.handle(guardFrames(socket, …))` – because aedes 1.x collects a
 * whole packet, up to 256 MiB, before it looks at it, also from peers that have proved nothing, and because its parser
 * takes much that is not MQTT. Whole packets that keep the rules are passed on, and nothing else.
 *
 * On a packet that is too long, too slow or against the rules, `onViolation` gets the reason (no payload in it; the socket
 * is still open, so its address can be read) and then both sides are destroyed, before the body of what is too long is
 * read. Errors and ends of the socket come out of the returned stream; destroying either side destroys the other.
 */
export function guardFrames(socket: Duplex, limits: FrameLimits, onViolation: (reason: string) => void): GuardedStream {
  const follow = followFrames(limits);
  let ended = false;
  let slow: NodeJS.Timeout | undefined;

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
      clearTimeout(slow);
      socket.destroy();
      done(error);
    },
  });

  function violate(reason: string): void {
    onViolation(reason);
    guard.destroy();
  }

  socket.on('data', (chunk: Buffer) => {
    if (guard.destroyed) return;
    const frames = follow(chunk);
    if ('reason' in frames) return violate(frames.reason);
    // the time of a packet begins with its first byte, however many follow one by one
    if (frames.whole.length > 0 || !frames.partial) {
      clearTimeout(slow);
      slow = undefined;
    }
    if (frames.partial)
      slow ??= setTimeout(() => violate(`a packet took more than ${limits.packetMs} ms`), limits.packetMs);
    if (frames.whole.length > 0 && !guard.push(frames.whole)) socket.pause();
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

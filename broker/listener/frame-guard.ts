import { Duplex } from 'node:stream';
import { createPacketRules } from './packet-rules.ts';

export type FrameLimits = {
  /** of the CONNECT packet: its sender is not authenticated yet */
  readonly maxConnectBytes: number;
  readonly maxPacketBytes: number;
  /** from the first byte of a packet to its last, in milliseconds */
  readonly packetMs: number;
};

const nothing = Buffer.alloc(0);

/**
 * Splits a byte stream into MQTT packets: fixed header byte, then the remaining length [MQTT 3.1.1, 2.2.3], then that many
 * bytes. Takes the stream chunk by chunk. @returns the bytes of the packets that are complete by now, unchanged; or the reason
 * for which the connection must end. After a reason it must not be called again
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
      const violation = at < data.length ? rules.begins(data[at] ?? 0) : undefined;
      if (violation !== undefined) return { reason: violation };
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

/** The offset and length of the body of the packet at `at`; undefined when its header is incomplete; a text when it is malformed. */
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
 * Stands between a TLS socket and aedes. aedes 1.x collects a whole packet of up to 256 MiB before it looks at it, even from
 * a peer that is not authenticated, and its parser accepts much that is not MQTT. The guard passes on whole packets that keep
 * the rules, and nothing else.
 *
 * After a packet that is too long, too slow or against the rules it calls `onViolation` with the reason, which has no
 * payload in it, and destroys both sides; the body of a packet that is too long is never read. Errors and the end of the
 * socket come out of the returned stream. Destroying either side destroys the other.
 */
export function guardFrames(socket: Duplex, limits: FrameLimits, onViolation: (reason: string) => void): Duplex {
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
    // mqtt-packet corks the stream and writes a packet field by field: without writev each field would be a TLS record
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
    // the time of a packet runs from its first byte; more bytes of the same packet do not extend it
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
  // After an orderly end, aedes may still have to read packets that came before it: the guard closes when they are read.
  socket.on('close', () => {
    if (!ended || guard.readableEnded) guard.destroy();
  });
  if (socket.destroyed) guard.destroy();
  return guard;
}

import { Duplex } from 'node:stream';
import type { PacketPace } from './packet-pace.ts';
import { createPacketRules, unacceptableLevel } from './packet-rules.ts';

export type GuardedStream = Duplex & {
  /** The MQTT library has answered CONNECT, and may have what came after it. */
  connected(): void;
};

export type FrameLimits = {
  /** of the CONNECT packet: its sender is not authenticated yet */
  readonly maxConnectBytes: number;
  readonly maxPacketBytes: number;
  /** from the first byte of a packet to its last, in milliseconds */
  readonly packetMs: number;
};

const nothing = Buffer.alloc(0);

/** CONNACK, unacceptable protocol version [MQTT 3.1.1, 3.2]. */
const connackUnacceptableLevel = Buffer.from([0x20, 2, 0, 1]);

/**
 * Splits a byte stream into MQTT packets: fixed header byte, then the remaining length [MQTT 3.1.1, 2.2.3], then that many
 * bytes. Takes the stream chunk by chunk. @returns the bytes of the packets that are complete by now, unchanged, the first
 * packet by itself (`isFirst`), and no more than the pace allows (`isAhead`: more are there); or the reason for which the
 * connection must end. After a reason it must not be called again
 */
function followFrames(
  limits: FrameLimits,
  pace: Pick<PacketPace, 'take'>,
): (chunk: Buffer) => { whole: Buffer; partial: boolean; isFirst: boolean; isAhead: boolean } | { reason: string } {
  const rules = createPacketRules();
  let rest: Buffer = nothing;
  let isFirst = true;

  return (chunk) => {
    const data = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let at = 0;
    for (;;) {
      const violation = at < data.length ? rules.begins(data[at] ?? 0) : undefined;
      if (violation !== undefined) return { reason: violation };
      const frame = frameAt(data, at);
      if (typeof frame === 'string') return { reason: frame };
      if (frame === undefined) break;
      const max = isFirst ? limits.maxConnectBytes : limits.maxPacketBytes;
      if (frame.length > max)
        return { reason: `a packet of ${frame.length} bytes was announced; at most ${max} are taken` };
      const end = frame.bodyAt + frame.length;
      if (end > data.length) break;
      if (!pace.take()) {
        rest = data.subarray(at);
        return { whole: data.subarray(0, at), partial: false, isFirst: false, isAhead: true };
      }
      const reason = rules.whole(data[at] ?? 0, data.subarray(frame.bodyAt, end));
      if (reason !== undefined) return { reason };
      at = end;
      if (isFirst) {
        isFirst = false;
        rest = data.subarray(at);
        return { whole: data.subarray(0, at), partial: false, isFirst: true, isAhead: false };
      }
    }
    rest = at === data.length ? nothing : data.subarray(at);
    return { whole: data.subarray(0, at), partial: rest.length > 0, isFirst: false, isAhead: false };
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
 * the rules, and nothing else. A device need not wait for CONNACK [MQTT 3.1.4], but aedes handles what comes a moment after
 * CONNECT before it has authenticated the device (https://github.com/moscajs/aedes/pull/1119): the guard keeps it back.
 *
 * After a packet that is too long, too slow or against the rules it calls `onViolation` with the reason, which has no
 * payload in it, and destroys both sides; the body of a packet that is too long is never read. Errors and the end of the
 * socket come out of the returned stream. Destroying either side destroys the other.
 */
export function guardFrames(
  socket: Duplex,
  limits: FrameLimits,
  pace: Pick<PacketPace, 'take' | 'wait' | 'stop'>,
  onViolation: (reason: string) => void,
): GuardedStream {
  const follow = followFrames(limits, pace);
  let ended = false;
  let [isConnected, keepsBack] = [false, false];
  let slow: NodeJS.Timeout | undefined;
  let isAhead = false;

  const guard = new Duplex({
    allowHalfOpen: false,
    read() {
      if (!keepsBack && !isAhead) socket.resume();
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
      pace.stop();
      socket.destroy();
      done(error);
    },
  });

  function violate(reason: string): void {
    onViolation(reason);
    if (reason === unacceptableLevel) socket.write(connackUnacceptableLevel, () => guard.destroy());
    else guard.destroy();
  }

  /** @returns whether there is room for more */
  function take(chunk: Buffer): boolean {
    if (guard.destroyed) return false;
    const frames = follow(chunk);
    if ('reason' in frames) {
      violate(frames.reason);
      return false;
    }
    keepsBack = frames.isFirst && !isConnected;
    isAhead = frames.isAhead;
    if (isAhead) pace.wait(goOn);
    // the time of a packet runs from its first byte; more bytes of the same packet do not extend it
    if (frames.whole.length > 0 || !frames.partial) {
      clearTimeout(slow);
      slow = undefined;
    }
    if (frames.partial)
      slow ??= setTimeout(() => violate(`a packet took more than ${limits.packetMs} ms`), limits.packetMs);
    return (frames.whole.length === 0 || guard.push(frames.whole)) && !keepsBack && !isAhead;
  }

  /** With what was kept back. */
  function goOn(): void {
    isAhead = false;
    if (take(nothing)) socket.resume();
  }

  function connected(): void {
    isConnected = true;
    if (keepsBack) goOn();
  }

  socket.on('data', (chunk: Buffer) => {
    if (!take(chunk)) socket.pause();
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
  return Object.assign(guard, { connected });
}

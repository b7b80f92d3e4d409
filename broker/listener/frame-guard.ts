import { Duplex } from 'node:stream';
import { frameAt } from './mqtt-frame.ts';
import type { PacketPace } from './packet-pace.ts';
import { createPacketRules, type PacketRules, type Violation } from './packet-rules.ts';
import { qosOf, types } from './packet-types.ts';
import { followSent } from './sent-packets.ts';

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

/** What a chunk of the stream brought. */
type Frames = {
  /** the packets that are complete by now and keep the rules, unchanged */
  readonly whole: Buffer;
  /** how many of them the broker answers */
  readonly owed: number;
  /** the first part of one more packet is there */
  readonly partial: boolean;
  /** `whole` is the first packet of the connection, by itself */
  readonly isFirst: boolean;
  /** more packets are there than the pace allows */
  readonly isAhead: boolean;
  /** the connection must end after `whole` */
  readonly violation?: Violation;
};

/** Splits a byte stream into MQTT packets, chunk by chunk. After a violation it must not be called again. */
function followFrames(
  limits: FrameLimits,
  rules: PacketRules,
  pace: Pick<PacketPace, 'take'>,
): (chunk: Buffer) => Frames {
  let rest: Buffer = nothing;
  let isFirst = true;

  /** @returns the end of the packet at `at`; undefined when it is not complete */
  function judge(data: Buffer, at: number): number | 'ahead' | Violation | undefined {
    const [header = 0] = data.subarray(at);
    const violation = rules.begins(header);
    if (violation !== undefined) return violation;
    const frame = frameAt(data, at);
    if (frame === undefined) return undefined;
    if (typeof frame === 'string') return { reason: frame };
    const max = isFirst ? limits.maxConnectBytes : limits.maxPacketBytes;
    if (frame.length > max)
      return { reason: `a packet of ${frame.length} bytes was announced; at most ${max} are taken` };
    const end = frame.bodyAt + frame.length;
    if (end > data.length) return undefined;
    if (!pace.take()) return 'ahead';
    return rules.whole(header, data.subarray(frame.bodyAt, end)) ?? end;
  }

  return (chunk) => {
    const data = rest.length === 0 ? chunk : Buffer.concat([rest, chunk]);
    let [at, owed] = [0, 0];
    const upToHere = { partial: false, isFirst: false, isAhead: false };
    while (at < data.length) {
      const end = judge(data, at);
      if (typeof end === 'object') return { ...upToHere, whole: data.subarray(0, at), owed, violation: end };
      if (typeof end !== 'number') {
        rest = data.subarray(at);
        const isAhead = end === 'ahead';
        return { ...upToHere, whole: data.subarray(0, at), owed, isAhead, partial: !isAhead };
      }
      if (isAnswered(data[at] ?? 0)) owed++;
      at = end;
      if (isFirst) {
        isFirst = false;
        rest = data.subarray(at);
        return { ...upToHere, whole: data.subarray(0, at), owed, isFirst: true };
      }
    }
    rest = nothing;
    return { ...upToHere, whole: data, owed };
  };
}

/** Whether the broker answers this packet of a client. */
function isAnswered(header: number): boolean {
  const type = header >> 4;
  if (type === types.publish) return qosOf(header) > 0;
  return type !== types.puback && type !== types.pubcomp && type !== types.disconnect;
}

/**
 * Stands between a TLS socket and aedes. aedes 1.x collects a whole packet of up to 256 MiB before it looks at it, even from
 * a peer that is not authenticated, and its parser accepts much that is not MQTT. The guard passes on whole packets that keep
 * the rules, and nothing else. A device need not wait for CONNACK [MQTT 3.1.4], but aedes handles what comes a moment after
 * CONNECT before it has authenticated the device (https://github.com/moscajs/aedes/pull/1119): the guard keeps it back.
 *
 * After a packet that is too long, too slow or against the rules it calls `onViolation` with the reason, which has no
 * payload in it, and reads no more; the body of a packet that is too long is never read. The packets before it are answered
 * first, if aedes does so in time; then both sides are destroyed. Errors and the end of the socket come out of the returned
 * stream. Destroying either side destroys the other.
 */
export function guardFrames(
  socket: Duplex,
  limits: FrameLimits,
  pace: Pick<PacketPace, 'take' | 'wait' | 'stop'>,
  onViolation: (reason: string) => void,
): GuardedStream {
  const rules = createPacketRules();
  const follow = followFrames(limits, rules, pace);
  /** answers that the broker owes for packets which were passed on */
  let owed = 0;
  let violation: Violation | undefined;
  let ended = false;
  let [isConnected, keepsBack] = [false, false];
  let slow: NodeJS.Timeout | undefined;
  let isAhead = false;

  const guard = new Duplex({
    allowHalfOpen: false,
    read() {
      if (!keepsBack && !isAhead && violation === undefined) socket.resume();
    },
    write(chunk: Buffer, _encoding, done) {
      sent(chunk);
      socket.write(chunk, done);
    },
    // mqtt-packet corks the stream and writes a packet field by field: without writev each field would be a TLS record
    writev(chunks, done) {
      const packets = Buffer.concat(chunks.map(({ chunk }) => chunk));
      sent(packets);
      socket.write(packets, done);
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

  const sent = followSent((header, messageId) => {
    if (messageId !== undefined) rules.sent(header, messageId);
    else if (header >> 4 !== types.publish) owed--;
    if (violation !== undefined && owed === 0) setImmediate(end);
  });

  /** The packets before the violation have been passed on. */
  function violate(cause: Violation): void {
    violation = cause;
    onViolation(cause.reason);
    socket.pause();
    clearTimeout(slow);
    slow = setTimeout(() => guard.destroy(), limits.packetMs);
    // by then, aedes has read what was passed on
    if (owed === 0) setImmediate(end);
  }

  /** What was written before is sent first. */
  function end(): void {
    if (guard.destroyed) return;
    if (violation?.answer !== undefined) socket.write(violation.answer);
    socket.end(() => guard.destroy());
  }

  /** @returns whether there is room for more */
  function take(chunk: Buffer): boolean {
    if (guard.destroyed || violation !== undefined) return false;
    const frames = follow(chunk);
    owed += frames.owed;
    if (frames.violation !== undefined) {
      if (frames.whole.length > 0) guard.push(frames.whole);
      violate(frames.violation);
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
      slow ??= setTimeout(() => violate({ reason: `a packet took more than ${limits.packetMs} ms` }), limits.packetMs);
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

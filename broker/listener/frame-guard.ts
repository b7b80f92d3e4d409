import { Duplex } from 'node:stream';
import type { Limits } from '../limits.ts';
import { Mqtt5, type Mqtt5Limits } from '../mqtt5/mqtt5.ts';
import { isConnect5 } from '../mqtt5/packets.ts';
import { codes, reasonCodeOf } from '../mqtt5/reason-codes.ts';
import { isHttpRequest, isHttps } from './http-clients.ts';
import { frameAt } from './mqtt-frame.ts';
import type { PacketPace } from './packet-pace.ts';
import type { Violation } from './packet-reader.ts';
import { PacketRules } from './packet-rules.ts';
import { qosOf, types } from './packet-types.ts';
import { SentPackets } from './sent-packets.ts';

export type FrameLimits = Pick<Limits, 'maxConnectBytes' | 'maxPacketBytes' | 'packetMs'> & Mqtt5Limits;

const nothing = Buffer.alloc(0);

/** How long a client has to read why its connection ends, in milliseconds. */
const farewellMs = 1000;

const tooSlow = (ms: number): Violation => ({
  reason: `a packet took more than ${ms} ms`,
  code: codes.implementationSpecificError,
});

/** What a chunk of the stream brought. */
type Frames = {
  /** the packets that are complete by now and keep the rules, unchanged; those of MQTT 5 as packets of 3.1.1 */
  readonly whole: Buffer;
  /** bytes of the packets that are complete by now */
  readonly read: number;
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

type Done = (error?: Error | null) => void;

/** Splits a byte stream into MQTT packets, chunk by chunk. After a violation it must not be called again. */
class ReceivedPackets {
  readonly #limits: FrameLimits;
  readonly #rules: PacketRules;
  readonly #pace: Pick<PacketPace, 'take'>;
  readonly #guard: Pick<FrameGuard, 'startMqtt5'>;
  /** for a client that speaks MQTT 5, from its CONNECT on */
  mqtt5: Mqtt5 | undefined;
  /** what became of packets of MQTT 5 */
  #translated: Buffer[] | undefined;
  #rest: Buffer = nothing;
  #isFirst = true;

  constructor(
    limits: FrameLimits,
    rules: PacketRules,
    pace: Pick<PacketPace, 'take'>,
    guard: Pick<FrameGuard, 'startMqtt5'>,
  ) {
    this.#limits = limits;
    this.#rules = rules;
    this.#pace = pace;
    this.#guard = guard;
  }

  /** @returns the end of the packet at `at`; undefined when it is not complete */
  #judge(data: Buffer, at: number): number | 'ahead' | Violation | undefined {
    const [header = 0] = data.subarray(at);
    const violation = (this.mqtt5 ?? this.#rules).begins(header);
    if (violation !== undefined) return this.#isFirst && isHttpRequest(data) ? { reason: isHttps } : violation;
    const frame = frameAt(data, at);
    if (frame === undefined) return undefined;
    if (typeof frame === 'string') return { reason: frame };
    const max = this.#isFirst ? this.#limits.maxConnectBytes : this.#limits.maxPacketBytes;
    const end = frame.bodyAt + frame.length;
    // header included, as in the Maximum Packet Size of CONNACK [MQTT 5, 3.2.2.3.6]
    if (end - at > max)
      return {
        reason: `a packet of ${end - at} bytes was announced; at most ${max} are taken`,
        code: codes.packetTooLarge,
      };
    if (end > data.length) return undefined;
    if (!this.#pace.take()) return 'ahead';
    return this.#judgeWhole(header, data.subarray(frame.bodyAt, end)) ?? end;
  }

  #judgeWhole(header: number, body: Buffer): Violation | undefined {
    if (this.#isFirst && isConnect5(body)) this.mqtt5 = this.#guard.startMqtt5(this.#limits);
    if (this.mqtt5 === undefined) return this.#rules.whole(header, body);
    const older = this.mqtt5.takes(header, body);
    if (!Buffer.isBuffer(older)) return older;
    this.#translated ??= [];
    this.#translated.push(older);
    return undefined;
  }

  /** The packets up to `read`, as the broker gets them. */
  #read(data: Buffer, read: number, owed: number): Pick<Frames, 'whole' | 'read' | 'owed'> {
    if (this.mqtt5 === undefined) return { whole: data.subarray(0, read), read, owed };
    const whole = Buffer.concat(this.#translated ?? []);
    this.#translated = undefined;
    return { whole, read, owed };
  }

  follow(chunk: Buffer): Frames {
    const data = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let [at, owed] = [0, 0];
    const upToHere = { partial: false, isFirst: false, isAhead: false };
    while (at < data.length) {
      const end = this.#judge(data, at);
      if (typeof end === 'object') return { ...upToHere, ...this.#read(data, at, owed), violation: end };
      if (typeof end !== 'number') {
        this.#keep(data, at);
        const isAhead = end === 'ahead';
        return { ...upToHere, ...this.#read(data, at, owed), isAhead, partial: !isAhead };
      }
      if (isAnswered(data[at] ?? 0) && this.#isPassedOn()) owed++;
      at = end;
      if (this.#isFirst) {
        this.#isFirst = false;
        this.#keep(data, at);
        return { ...upToHere, ...this.#read(data, at, owed), isFirst: true };
      }
    }
    this.#rest = nothing;
    return { ...upToHere, ...this.#read(data, at, owed) };
  }

  /** The packet that was judged last; one of MQTT 5 may be answered without the broker. */
  #isPassedOn(): boolean {
    return this.mqtt5 === undefined || (this.#translated?.at(-1)?.length ?? 0) > 0;
  }

  /** An empty slice would keep the memory that it is a slice of. */
  #keep(data: Buffer, from: number): void {
    this.#rest = from === data.length ? nothing : data.subarray(from);
  }
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
export class FrameGuard extends Duplex {
  readonly #socket: Duplex;
  readonly #packetMs: number;
  readonly #pace: Pick<PacketPace, 'take' | 'wait' | 'stop'>;
  readonly #onViolation: (reason: string) => void;
  readonly #rules = new PacketRules();
  readonly #received: ReceivedPackets;
  readonly #sent = new SentPackets();
  /** answers that the broker owes for packets which were passed on */
  #owed = 0;
  #violation: Violation | undefined;
  #socketEnded = false;
  #saidFarewell = false;
  #isConnected = false;
  #keepsBack = false;
  #isAhead = false;
  /** until the packet whose first bytes are there has to be whole */
  #slow: NodeJS.Timeout | undefined;

  constructor(
    socket: Duplex,
    limits: FrameLimits,
    pace: Pick<PacketPace, 'take' | 'wait' | 'stop'>,
    onViolation: (reason: string) => void,
  ) {
    super({ allowHalfOpen: false });
    this.#socket = socket;
    this.#packetMs = limits.packetMs;
    this.#pace = pace;
    this.#onViolation = onViolation;
    this.#received = new ReceivedPackets(limits, this.#rules, pace, this);
    Object.assign(socket, { [guardKey]: this });
    socket.on('data', onData).on('end', onEnd).on('error', onError).on('close', onClose);
    if (socket.destroyed) this.destroy();
  }

  override _read(): void {
    if (!this.#keepsBack && !this.#isAhead && this.#violation === undefined) this.#socket.resume();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: Done): void {
    this.#send(chunk, done);
  }

  // mqtt-packet corks the stream and writes a packet field by field: without writev each field would be a TLS record
  override _writev(chunks: readonly { readonly chunk: Buffer }[], done: Done): void {
    this.#send(Buffer.concat(chunks.map(({ chunk }) => chunk)), done);
  }

  /** @param written by the broker */
  #send(written: Buffer, done: Done): void {
    const { mqtt5 } = this.#received;
    const packets = mqtt5 === undefined ? written : mqtt5.sends(written);
    this.#follow(written);
    if (packets.length > 0) this.#socket.write(packets, done);
    else done();
  }

  override _final(done: Done): void {
    if (this.#socket.destroyed || this.#socket.writableEnded) done();
    else this.#socket.end(() => done());
  }

  override _destroy(error: Error | null, done: Done): void {
    clearTimeout(this.#slow);
    this.#pace.stop();
    const reasonCode = error === null ? undefined : reasonCodeOf(error);
    if (reasonCode !== undefined) this.farewell(reasonCode, error?.message ?? '');
    // what came before the violation may end the connection, too: DISCONNECT
    if (this.#violation !== undefined) this.#sayViolation(this.#violation);
    if (this.#saidFarewell) this.#endSocket();
    else this.#socket.destroy();
    done(error);
  }

  /**
   * Says to a client of MQTT 5 why its connection is about to end: at once, and as the last packet that it gets. Clients of other versions get
   * nothing, since they know no such packet. @param reason has nothing in it that the device sent
   */
  farewell(code: number, reason: string): void {
    if (this.#received.mqtt5?.farewell(code, reason) === true) this.#saidFarewell = true;
  }

  #sayViolation({ code = codes.malformedPacket, reason }: Violation): void {
    this.farewell(code, reason);
  }

  /** For a client of MQTT 5. */
  get mqtt5(): Mqtt5 | undefined {
    return this.#received.mqtt5;
  }

  /** The CONNECT of the client is one of MQTT 5. */
  startMqtt5(limits: FrameLimits): Mqtt5 {
    return new Mqtt5(limits, {
      write: (packet) => void (this.#socket.writable && this.#socket.write(packet)),
      end: (violation) => this.#violate(violation),
    });
  }

  /** When what was written has been sent; a client that does not read it is not waited for. */
  #endSocket(): void {
    const socket = this.#socket;
    if (socket.destroyed) return;
    const timer = setTimeout(() => socket.destroy(), farewellMs).unref();
    socket.once('close', () => clearTimeout(timer));
    socket.end(() => socket.destroy());
  }

  /** Of the socket, as its events say. */
  arrived(chunk: Buffer): void {
    if (!this.#take(chunk)) this.#socket.pause();
  }

  socketEnded(): void {
    this.#socketEnded = true;
    this.push(null);
  }

  /** After an orderly end, aedes may still have to read packets that came before it: the guard closes when they are read. */
  socketClosed(): void {
    if (!this.#socketEnded || this.readableEnded) this.destroy();
  }

  /** The MQTT library has answered CONNECT, and may have what came after it. */
  connected(): void {
    this.#isConnected = true;
    if (this.#keepsBack) this.#goOn();
  }

  /** @param written by the broker */
  #follow(written: Buffer): void {
    this.#sent.follow(written, (header, messageId) => {
      if (messageId === undefined) {
        if (header >> 4 !== types.publish) this.#owed--;
      } else if (this.mqtt5 === undefined) this.#rules.sent(header, messageId);
      if (this.#violation !== undefined && this.#owed === 0) this.#endSoon();
    });
  }

  /** The packets before the violation have been passed on. */
  #violate(cause: Violation): void {
    if (this.#violation !== undefined) return;
    this.#violation = cause;
    this.#onViolation(cause.reason);
    this.#socket.pause();
    clearTimeout(this.#slow);
    this.#slow = setTimeout(() => this.destroy(), this.#packetMs);
    if (this.#owed === 0) this.#endSoon();
  }

  /** By then, aedes has read what was passed on. What was written before is sent first. */
  #endSoon(): void {
    setImmediate(() => {
      if (this.destroyed) return;
      if (this.#violation?.answer !== undefined) this.#socket.write(this.#violation.answer);
      else if (this.#violation !== undefined) this.#sayViolation(this.#violation);
      this.#socket.end(() => this.destroy());
    });
  }

  /** @returns whether there is room for more */
  #take(chunk: Buffer): boolean {
    if (this.destroyed || this.#violation !== undefined) return false;
    const frames = this.#received.follow(chunk);
    this.#owed += frames.owed;
    if (frames.violation !== undefined) {
      if (frames.whole.length > 0) this.push(frames.whole);
      this.#violate(frames.violation);
      return false;
    }
    this.#keepsBack = frames.isFirst && !this.#isConnected;
    this.#isAhead = frames.isAhead;
    if (this.#isAhead) this.#pace.wait(() => this.#goOn());
    this.#limitTime(frames);
    return (frames.whole.length === 0 || this.push(frames.whole)) && !this.#keepsBack && !this.#isAhead;
  }

  /** The time of a packet runs from its first byte; more bytes of the same packet do not extend it. */
  #limitTime({ read, partial }: Frames): void {
    if (read > 0 || !partial) {
      clearTimeout(this.#slow);
      this.#slow = undefined;
    }
    if (partial) this.#slow ??= setTimeout(() => this.#violate(tooSlow(this.#packetMs)), this.#packetMs);
  }

  /** With what was kept back. */
  #goOn(): void {
    this.#isAhead = false;
    if (this.#take(nothing)) this.#socket.resume();
  }
}

const guardKey = Symbol('frame guard');
type Guarded = Duplex & { readonly [guardKey]: FrameGuard };

// the listeners of all sockets: one of its own for each costs each connection memory
function onData(this: Duplex, chunk: Buffer): void {
  (this as Guarded)[guardKey].arrived(chunk);
}
function onEnd(this: Duplex): void {
  (this as Guarded)[guardKey].socketEnded();
}
function onError(this: Duplex, error: Error): void {
  (this as Guarded)[guardKey].destroy(error);
}
function onClose(this: Duplex): void {
  (this as Guarded)[guardKey].socketClosed();
}

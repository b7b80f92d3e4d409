import { Duplex, PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { defaultLimits } from '../../broker/limits.ts';
import { createAddressPaces } from '../../broker/listener/address-pace.ts';
import { FrameGuard } from '../../broker/listener/frame-guard.ts';
import { PacketPace } from '../../broker/listener/packet-pace.ts';
import { closingError } from '../../broker/mqtt5/reason-codes.ts';

const fast = { burst: 100_000, perSecond: 100_000 };
const verifiedPackets = { burst: 50, perSecond: 1000 };
const paceOf = (packets = fast) =>
  new PacketPace({ packets, verifiedPackets, packetsFreeOfAddress: 0 }, createAddressPaces(fast).join('192.0.2.1'));
const connectPacket = Buffer.from('101000044d5154540402003c000461626364', 'hex');
/** The same of MQTT 5, and a PUBLISH with an empty list of properties; each is wiped where it was read. */
const connect5 = () => Buffer.from('101100044d5154540502003c00000461626364', 'hex');
const publish5 = () => Buffer.from('30050001740078', 'hex');
const ping = Buffer.from([0xc0, 0]);
const connack = Buffer.from([0x20, 2, 0, 0]);
const reserved = Buffer.from([0xf0, 0]);

/** A socket whose incoming bytes are ours to say and whose outgoing bytes are ours to read. */
function pair({ maxPacketBytes = 100, isAnswered = true, packets = fast } = {}) {
  const [incoming, outgoing] = [new PassThrough(), new PassThrough()];
  const socket = Duplex.from({ readable: incoming, writable: outgoing });
  socket.on('error', () => {});
  const violations: string[] = [];
  const limits = { ...defaultLimits, maxConnectBytes: 50, maxPacketBytes, packetMs: 200 };
  const pace = paceOf(packets);
  const guard = new FrameGuard(socket, limits, pace, (reason) => violations.push(reason));
  guard.on('error', () => {});
  const received: Buffer[] = [];
  guard.on('data', (chunk: Buffer) => received.push(chunk));
  if (isAnswered)
    guard.once('data', () => {
      guard.write(connack);
      guard.connected();
    });
  return { incoming, outgoing, socket, guard, pace, violations, received: () => Buffer.concat(received) };
}

/** What a stream has by now. From Node.js 26 on, one read gives one chunk. */
function allOf(stream: PassThrough): Buffer {
  const chunks: Buffer[] = [];
  for (let chunk: Buffer | null = stream.read(); chunk !== null; chunk = stream.read()) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Streams need some turns of the event loop, of which a busy machine may have made none when the time is over. */
async function settle(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 20));
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
}
const publish = (size: number) => Buffer.concat([Buffer.from([0x30, size, 0, 1, 0x74]), Buffer.alloc(size - 3)]);

describe('the frame guard', () => {
  it('passes packets on unchanged, however they are split', async () => {
    const bytes = Buffer.concat([connectPacket, publish(20), ping]);
    for (let cut = 1; cut < bytes.length; cut++) {
      const { incoming, received, violations } = pair();
      incoming.write(bytes.subarray(0, cut));
      await new Promise((resolve) => setImmediate(resolve));
      incoming.write(bytes.subarray(cut));
      await settle();
      expect(received()).toEqual(bytes);
      expect(violations).toEqual([]);
    }
  });

  it.each([
    ['in one chunk with it', [Buffer.concat([connectPacket, publish(20), ping])]],
    ['in chunks of their own', [connectPacket, publish(20), ping]],
    ['with half a packet', [Buffer.concat([connectPacket, ping.subarray(0, 1)]), ping.subarray(1)]],
  ])('keeps back what comes after CONNECT until CONNECT is answered: %s', async (_how, chunks) => {
    const { incoming, guard, received, violations } = pair({ isAnswered: false });
    for (const chunk of chunks) {
      incoming.write(chunk);
      await settle();
      expect(received()).toEqual(connectPacket);
    }
    guard.connected();
    await settle();
    expect(received()).toEqual(Buffer.concat(chunks));
    incoming.write(ping);
    incoming.end();
    await settle();
    expect(received()).toEqual(Buffer.concat([...chunks, ping]));
    expect([violations, guard.readableEnded]).toEqual([[], true]);
  });

  it('passes packets on at the pace of the connection, all of them in the end, and reads no more meanwhile', async () => {
    const { incoming, socket, received, violations } = pair({ packets: { burst: 4, perSecond: 20 } });
    const pings = Buffer.concat(Array.from({ length: 10 }, () => ping));
    incoming.write(Buffer.concat([connectPacket, pings]));
    await settle();
    expect(received().length).toBeLessThan(connectPacket.length + 6 * ping.length);
    expect(socket.isPaused()).toBe(true);
    incoming.write(publish(20));
    const all = Buffer.concat([connectPacket, pings, publish(20)]);
    await expect.poll(() => received().length).toBe(all.length);
    expect(received()).toEqual(all);
    expect(violations).toEqual([]);
  });

  it('passes packets on faster when the token is verified', async () => {
    const { incoming, pace, received } = pair({ packets: { burst: 2, perSecond: 0.001 } });
    incoming.write(connectPacket);
    await settle();
    pace.verified();
    incoming.write(Buffer.concat(Array.from({ length: 40 }, () => ping)));
    await settle();
    expect(received().length).toBe(connectPacket.length + 40 * ping.length);
  });

  it('stops at once when it is destroyed while packets wait for their pace', async () => {
    const { incoming, guard, received } = pair({ packets: { burst: 2, perSecond: 50 } });
    incoming.write(Buffer.concat([connectPacket, ping, ping, ping]));
    await settle();
    const before = received().length;
    guard.destroy();
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(received().length).toBe(before);
  });

  it('keeps back no more than one chunk', async () => {
    const { incoming, socket, received } = pair({ isAnswered: false });
    incoming.write(connectPacket);
    for (let count = 0; count < 100; count++) incoming.write(publish(100));
    await settle();
    expect(received()).toEqual(connectPacket);
    expect(socket.isPaused()).toBe(true);
  });

  it('closes at the header of a packet that announces 256 MiB, before its body', async () => {
    const { incoming, guard, socket, violations } = pair();
    incoming.write(connectPacket);
    incoming.write(Buffer.from([0x30, 0xff, 0xff, 0xff, 0x7f]));
    await settle();
    expect(violations).toEqual([expect.stringContaining('268435460 bytes')]);
    expect([guard.destroyed, socket.destroyed]).toEqual([true, true]);
  });

  it('passes on the packets before a bad one, and closes when they are answered, however the answers are cut', async () => {
    const { incoming, outgoing, guard, received, violations } = pair();
    const publishes = [1, 2].map((id) => Buffer.from([0x32, 5, 0, 1, 0x74, 0, id]));
    incoming.write(connectPacket);
    await settle();
    incoming.write(Buffer.concat([...publishes, ping, reserved, ping]));
    await settle();
    expect(received()).toEqual(Buffer.concat([connectPacket, ...publishes, ping]));
    expect(violations).toEqual([expect.stringContaining('reserved')]);
    // a message of the broker is no answer
    const message = Buffer.from([0x32, 6, 0, 1, 0x74, 0, 9, 0x78]);
    const answers = Buffer.concat([
      Buffer.from([0xd0, 0]),
      message,
      ...[2, 1].map((id) => Buffer.from([0x40, 2, 0, id])),
    ]);
    for (const byte of answers) guard.write(Buffer.from([byte]));
    await settle();
    expect(guard.destroyed).toBe(true);
    expect(allOf(outgoing)).toEqual(Buffer.concat([connack, answers]));
  });

  it('closes after a bad packet although the packets before it are not answered, when their time is over', async () => {
    const { incoming, guard } = pair();
    incoming.write(connectPacket);
    await settle();
    incoming.write(Buffer.concat([ping, reserved]));
    await expect.poll(() => guard.destroyed).toBe(true);
  });

  it('answers a CONNECT that it refuses, and closes', async () => {
    const { incoming, outgoing, guard, received } = pair();
    incoming.write(Buffer.from('100f00044d5154540602003c0003707172', 'hex'));
    await settle();
    expect(allOf(outgoing)).toEqual(Buffer.from([0x20, 2, 0, 1]));
    expect([received().length, guard.destroyed]).toEqual([0, true]);
  });

  it.each([
    ['one byte too much, its header included', Buffer.concat([connectPacket, Buffer.from([0x30, 99])]), /101 bytes/],
    [
      'a length of five bytes',
      Buffer.concat([connectPacket, Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff])]),
      /malformed/,
    ],
    ['a reserved type', Buffer.concat([connectPacket, Buffer.from([0xf0, 0])]), /reserved/],
    ['a CONNECT of more than its own limit', Buffer.from([0x10, 49]), /51 bytes/],
    ['a first packet that is not CONNECT', ping, /CONNECT/],
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\n'), /^it is HTTPS/],
  ])('closes at %s', async (_name, bytes, reason) => {
    const { incoming, guard, violations } = pair();
    incoming.write(bytes);
    await settle();
    expect(violations).toEqual([expect.stringMatching(reason)]);
    expect(guard.destroyed).toBe(true);
  });

  it('closes at a packet that comes byte by byte and too slowly, and leaves a connection alone that pauses between packets', async () => {
    const [slow, idle] = [pair(), pair()];
    for (const { incoming } of [slow, idle]) incoming.write(connectPacket);
    const bytes = publish(40);
    for (let at = 0; at < 8; at++) {
      slow.incoming.write(bytes.subarray(at, at + 1));
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    expect(slow.violations).toEqual([expect.stringContaining('200 ms')]);
    expect([slow.guard.destroyed, idle.guard.destroyed]).toEqual([true, false]);
  });

  it('accepts a packet of exactly the limit', async () => {
    const { incoming, violations, received } = pair();
    incoming.write(Buffer.concat([connectPacket, publish(98)]));
    await settle();
    expect(violations).toEqual([]);
    expect(received()).toHaveLength(connectPacket.length + 100);
  });

  it('writes all that was corked to the socket in one piece', async () => {
    const written: number[][] = [];
    const socket = new Duplex({
      read() {},
      write(chunk, _encoding, done) {
        written.push([...chunk]);
        done();
      },
    });
    const guard = new FrameGuard(
      socket,
      { ...defaultLimits, maxConnectBytes: 50, maxPacketBytes: 100, packetMs: 200 },
      paceOf(),
      () => {},
    );
    guard.cork();
    for (const byte of [0x20, 2, 0, 0]) guard.write(Buffer.from([byte]));
    guard.uncork();
    await settle();
    expect(written).toEqual([[0x20, 2, 0, 0]]);
  });

  it('is destroyed with the socket, and the socket with it', async () => {
    const one = pair();
    one.socket.destroy();
    await settle();
    expect(one.guard.destroyed).toBe(true);
    const two = pair();
    two.guard.destroy();
    await settle();
    expect(two.socket.destroyed).toBe(true);
  });

  it('passes on packets that were sent before an orderly end, and closes when they are read', async () => {
    const { incoming, guard, received, violations } = pair();
    incoming.end(Buffer.concat([connectPacket, ping]));
    await settle();
    expect(received()).toEqual(Buffer.concat([connectPacket, ping]));
    expect(violations).toEqual([]);
    expect(guard.destroyed).toBe(true);
  });

  it('keeps packets that were sent before the end for a busy reader, although the socket has closed', async () => {
    const [incoming, outgoing] = [new PassThrough(), new PassThrough()];
    const socket = Duplex.from({ readable: incoming, writable: outgoing });
    const limits = { ...defaultLimits, maxConnectBytes: 50, maxPacketBytes: 100, packetMs: 200 };
    const guard = new FrameGuard(socket, limits, paceOf(), () => {});
    incoming.end(connectPacket);
    await settle();
    guard.connected();
    await settle();
    socket.destroy();
    await settle();
    expect(guard.destroyed).toBe(false);
    const read: Buffer[] = [];
    guard.on('data', (chunk: Buffer) => read.push(chunk));
    await settle();
    expect(Buffer.concat(read)).toEqual(connectPacket);
  });

  it('hands on the error of the socket', async () => {
    const { guard, socket } = pair();
    const errors: unknown[] = [];
    guard.on('error', (error) => errors.push(error));
    socket.destroy(new Error('reset'));
    await settle();
    expect(errors).toEqual([expect.objectContaining({ message: 'reset' })]);
  });

  it('of a destroyed socket is destroyed', async () => {
    const socket = new PassThrough();
    socket.destroy();
    await settle();
    const guard = new FrameGuard(
      socket,
      { ...defaultLimits, maxConnectBytes: 50, maxPacketBytes: 100, packetMs: 200 },
      paceOf(),
      () => {},
    );
    expect(guard.destroyed).toBe(true);
  });

  it('writes to the socket, and ends it when it is ended', async () => {
    const { guard, outgoing } = pair();
    const written: Buffer[] = [];
    outgoing.on('data', (chunk: Buffer) => written.push(chunk));
    await new Promise<void>((resolve, reject) => guard.write(ping, (error) => (error ? reject(error) : resolve())));
    const ended = new Promise((resolve) => outgoing.once('end', resolve));
    await new Promise<void>((resolve) => guard.end(resolve));
    await ended;
    expect(Buffer.concat(written)).toEqual(ping);
  });

  it('reads no more from the socket than its own reader takes', async () => {
    const [incoming, outgoing] = [new PassThrough(), new PassThrough()];
    const socket = Duplex.from({ readable: incoming, writable: outgoing });
    const guard = new FrameGuard(
      socket,
      { ...defaultLimits, maxConnectBytes: 50, maxPacketBytes: 40_000, packetMs: 2000 },
      paceOf(),
      () => {},
    );
    incoming.write(connectPacket);
    await settle();
    guard.connected();
    const big = Buffer.concat([Buffer.from([0x30, 0xa0, 0x9c, 0x01, 0, 1, 0x74]), Buffer.alloc(20_000 - 3)]);
    for (let sent = 0; sent < 30; sent++) incoming.write(big);
    await settle();
    expect(guard.readableLength).toBeLessThan(200_000);
    expect(socket.isPaused()).toBe(true);
    let read = 0;
    guard.on('data', (chunk: Buffer) => {
      read += chunk.length;
    });
    await expect.poll(() => read).toBe(connectPacket.length + 30 * big.length);
  });

  it('gives each packet its own time, however many come one after the other', async () => {
    const { incoming, violations } = pair();
    incoming.write(connectPacket);
    const bytes = publish(10);
    incoming.write(bytes.subarray(0, 5));
    for (let sent = 0; sent < 4; sent++) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      incoming.write(Buffer.concat([bytes.subarray(5), bytes.subarray(0, 5)]));
    }
    expect(violations).toEqual([]);
  });

  it('accepts a length of two bytes', async () => {
    const { incoming, received, violations } = pair({ maxPacketBytes: 300 });
    const bytes = Buffer.concat([Buffer.from([0x30, 0x80, 0x01, 0, 1, 0x74]), Buffer.alloc(125)]);
    incoming.write(Buffer.concat([connectPacket, bytes, ping]));
    await settle();
    expect(violations).toEqual([]);
    expect(received()).toHaveLength(connectPacket.length + bytes.length + 2);
  });

  it('translates a connection of MQTT 5, and no other', async () => {
    const older = pair();
    older.incoming.write(connectPacket);
    const newer = pair();
    newer.incoming.write(Buffer.concat([connect5(), publish5()]));
    await settle();
    expect(older.guard.mqtt5).toBeUndefined();
    expect(allOf(older.outgoing)).toEqual(connack);
    expect(newer.guard.mqtt5).toBeDefined();
    expect(newer.received()).toEqual(Buffer.concat([connectPacket, Buffer.from('300400017478', 'hex')]));
    expect(allOf(newer.outgoing).subarray(0, 4)).toEqual(Buffer.from([0x20, 19, 0, 0]));
  });

  it('serves what a client of MQTT 5 sent before a violation, and says why it ends, once', async () => {
    const { incoming, outgoing, guard } = pair();
    incoming.write(connect5());
    await settle();
    allOf(outgoing);
    incoming.write(Buffer.concat([ping, reserved, ping]));
    await settle();
    expect(guard.destroyed).toBe(false);
    guard.write(Buffer.from([0xd0, 0]));
    await expect.poll(() => guard.destroyed).toBe(true);
    const said: Buffer = allOf(outgoing);
    expect([said.subarray(0, 2), said[2], said[4]]).toEqual([Buffer.from([0xd0, 0]), 0xe0, 0x82]);
    expect(said).toHaveLength(2 + 2 + (said[3] ?? 0));
  });

  it('tells a client of MQTT 5 why an error of the broker ends its connection', async () => {
    const heard = async (error: Error) => {
      const written: Buffer[] = [];
      const socket = new Duplex({
        read() {},
        write(chunk, _encoding, done) {
          written.push(chunk);
          done();
        },
      });
      const guard = new FrameGuard(socket, defaultLimits, paceOf(), () => {});
      guard.on('error', () => {}).once('data', () => guard.write(connack));
      socket.push(connect5());
      await expect.poll(() => written.length).toBe(1);
      guard.destroy(error);
      await expect.poll(() => socket.destroyed).toBe(true);
      return Buffer.concat(written.slice(1)).toString('latin1');
    };
    expect(await heard(closingError(0x90, 'not here'))).toMatch(/^\xe0.\x90.*not here$/s);
    expect(await heard(new Error('10.0.0.7 refuses'))).toBe('');
  });
});

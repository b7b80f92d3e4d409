import { connect, type TLSSocket } from 'node:tls';
import { decode } from 'cborg';
import { generate, type IConnectPacket, type IPublishPacket, type Packet, parser } from 'mqtt-packet';
import { type FleetReply, untilDecided } from './fleet-device.ts';
import { packet, packetReader } from './raw-mqtt.ts';

/** A packet as it came: its bytes, and what they say. */
export type ReadPacket = { readonly bytes: Buffer; readonly packet: Packet };

/** A reply to Fleet Provisioning, in its packet. */
export type PacketReply = { readonly topic: string; readonly payload: Buffer; readonly body: FleetReply } & {
  /** of the whole packet, which must fit into the buffer of its client */
  readonly packetBytes: number;
};

type Version = 4 | 5;
type Asked = { readonly topic: string; readonly payload?: string | Buffer; readonly id?: number };

/**
 * A client of which each packet counts: it sends what a test writes and nothing by itself, and every packet that comes must be read by the
 * test, in order. Over TLS, with SNI, as all clients of AWS do.
 */
export async function connectPackets({ port, caPem: ca }: { port: number; caPem: string }, version: Version = 4) {
  const socket: TLSSocket = connect({ port, host: '127.0.0.1', servername: 'localhost', ca });
  socket.on('error', () => {});
  const read: ReadPacket[] = [];
  const form = { protocolVersion: version };
  socket.on(
    'data',
    packetReader(({ type, flags, body }) => {
      const bytes = packet((type << 4) | flags, body);
      parser(form)
        .on('packet', (parsed: Packet) => read.push({ bytes, packet: parsed }))
        .parse(bytes);
    }),
  );
  await new Promise<void>((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));

  const send = (...packets: Packet[]) => socket.write(Buffer.concat(packets.map((each) => generate(each, form))));

  async function next(): Promise<ReadPacket> {
    for (const end = performance.now() + 45_000; performance.now() < end; ) {
      const first = read.shift();
      if (first !== undefined) return first;
      if (socket.closed) throw new Error('the connection closed before the next packet');
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    throw new Error('no packet within 45 s');
  }
  const nextBytes = async () => (await next()).bytes.toString('hex');
  const puback = (messageId = 0) => send({ cmd: 'puback', messageId });

  /** PUBACK of the own PUBLISH, and the reply: they come in either order. The reply is acknowledged. */
  async function acknowledgedReply(id: number): Promise<PacketReply> {
    const both = [await next(), await next()];
    const reply = both.find(({ packet }) => packet.cmd === 'publish')?.packet as IPublishPacket | undefined;
    const ack = both.find(({ packet }) => packet.cmd === 'puback');
    if (reply === undefined || ack?.packet.messageId !== id)
      throw new Error(`a PUBACK and a reply, but got ${both.map(({ packet }) => packet.cmd).join(', ')}`);
    return took(reply);
  }

  function took(reply: IPublishPacket): PacketReply {
    const { topic, qos, retain, dup } = reply;
    if (qos !== 1 || retain || dup) throw new Error('a reply is a first PUBLISH with QoS 1, and not retained');
    puback(reply.messageId);
    const payload = reply.payload as Buffer;
    const body = topic.includes('/cbor/') ? decode(payload) : JSON.parse(payload.toString());
    const packetBytes = generate(reply, form).length;
    return { topic, payload, body: body as FleetReply, packetBytes };
  }

  return {
    send,
    next,
    nextBytes,
    /** Whatever came and was not read. */
    unread: read,
    /** @returns the CONNACK, in hex */
    connect(options: Omit<IConnectPacket, 'cmd' | 'protocolId' | 'protocolVersion'>): Promise<string> {
      send({ cmd: 'connect', protocolId: 'MQTT', protocolVersion: version, ...options });
      return nextBytes();
    },
    /** One SUBSCRIBE with these filters. @returns the SUBACK, in hex */
    subscribe(messageId: number, ...filters: string[]): Promise<string> {
      send(subscribePacket(messageId, ...filters));
      return nextBytes();
    },
    /** @returns the UNSUBACK, in hex */
    unsubscribe(messageId: number, filter: string): Promise<string> {
      send({ cmd: 'unsubscribe', messageId, unsubscriptions: [filter] });
      return nextBytes();
    },
    /** Publishes, with QoS 1 where it has an `id`. @returns the reply */
    async askOnce({ topic, payload = '', id }: Asked): Promise<PacketReply> {
      const qos = id === undefined ? 0 : 1;
      send({
        cmd: 'publish',
        topic,
        payload,
        qos,
        dup: false,
        retain: false,
        ...(id === undefined ? {} : { messageId: id }),
      });
      return id === undefined ? took((await next()).packet as IPublishPacket) : acknowledgedReply(id);
    },
    /** Asks again when it was told to wait (429), as firmware does: also an empty line is slow on a busy machine. */
    ask(asked: Asked): Promise<PacketReply> {
      return untilDecided(() => this.askOnce(asked));
    },
    /** DISCONNECT; resolves when the connection is closed. */
    async leave(): Promise<void> {
      send({ cmd: 'disconnect' });
      await new Promise<void>((resolve) => (socket.closed ? resolve() : socket.once('close', () => resolve()).end()));
    },
  };
}

export const subscribePacket = (messageId: number, ...filters: string[]): Packet => ({
  ...{ cmd: 'subscribe', messageId },
  subscriptions: filters.map((topic) => ({ topic, qos: 1 })),
});

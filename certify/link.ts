import type { TLSSocket } from 'node:tls';
import type { IConnectPacket, IPublishPacket, Packet } from 'mqtt-packet';
import { saysThatItWaits } from '../protocol/fleet-provisioning/dialect.ts';
import { nonceOfTime, timeReplyTopic } from '../protocol/time.ts';
import { deviceApi } from './dialects/device-api.ts';
import type { Asked, CertifyDialect, Connection, Outgoing } from './dialects/dialect.ts';
import { fleetProvisioningDialect } from './dialects/fleet-provisioning.ts';
import { type MqttVersion, readPacket, takeFrames, writePacket } from './mqtt-packets.ts';
import type { Observation, ReplySeen } from './observation.ts';
import type { ReplyContent } from './replies.ts';
import type { DeviceLink, FromDevice, FromGateway, Script } from './script.ts';

export type LinkOptions = {
  readonly number: number;
  readonly device: { readonly serial: string; readonly token: string };
  /** the handshake has proved the token */
  readonly byKey: boolean;
  readonly socket: TLSSocket;
  readonly upstream: TLSSocket;
  readonly script: Script;
  readonly observation: Observation;
};

/** Message ids of the packets that a case sends by itself: the gateway counts from 1, and never comes that far. */
const firstOwnId = 50_000;

/**
 * How long the line of the gateway is, which a busy machine has: it belongs to no case. A device would leave for a minute, and the case with
 * it; cases say `pending` themselves.
 */
const isPending = (content: ReplyContent): boolean => 'status' in content && content.status === 'pending';

/** The same in Fleet Provisioning, where it is a rejection. */
const isToAskAgain = (content: ReplyContent): boolean =>
  content.type === 'whole' && saysThatItWaits(content.reason ?? '');

/** Between that rejection and the same request again, in milliseconds. */
const askAgainMs = 1000;

/** One connection of the device, and the one to the gateway that goes with it. */
export class Link implements DeviceLink {
  readonly number: number;
  readonly #options: LinkOptions;
  #version: MqttVersion = 4;
  /** the latest of what the device asked, which answers go to */
  #asked: Asked | undefined;
  #askedBy: IPublishPacket | undefined;
  #correlationData: Buffer | undefined;
  #maxPacket: number | undefined;
  #ownId = firstOwnId;
  readonly #own = new Set<number>();
  /** of requests that were sent to the gateway again, until their PUBACK */
  readonly #again = new Set<number>();
  readonly #timers = new Set<NodeJS.Timeout>();
  #lastPart: number | undefined;
  #closed = false;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.number = options.number;
    const { socket, upstream } = options;
    this.#read(socket, (frame) => this.#fromDevice(frame), 'device');
    this.#read(upstream, (frame) => this.#fromGateway(frame), 'gateway');
  }

  #read(socket: TLSSocket, take: (frame: Buffer) => void, side: 'device' | 'gateway'): void {
    let rest: Buffer = Buffer.alloc(0);
    socket.on('error', () => {});
    socket.once('close', () => this.#close(side));
    socket.on('data', (bytes: Buffer) => {
      if (this.#closed) return;
      try {
        const taken = takeFrames(Buffer.concat([rest, bytes]));
        rest = taken.rest;
        for (const frame of taken.frames) if (!this.#closed) take(frame);
      } catch (error) {
        if (side === 'device')
          this.#options.observation.note(this.number, { kind: 'malformed', reason: (error as Error).message });
        this.#close(side);
      }
    });
  }

  #close(by: 'device' | 'gateway' | 'case'): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const timer of this.#timers) clearTimeout(timer);
    const { socket, upstream, observation } = this.#options;
    observation.note(this.number, { kind: 'closed', by });
    // what was written to the device just before is to arrive
    if (by === 'gateway') socket.end();
    else socket.destroy();
    upstream.destroy();
  }

  cut(): void {
    this.#close('case');
  }

  after(ms: number, act: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      act();
    }, ms);
    this.#timers.add(timer);
  }

  toGateway(frame: Buffer): void {
    if (!this.#closed) this.#options.upstream.write(frame);
  }

  /** Passes bytes on to the device, and notes what they are. */
  toDevice(frame: Buffer): void {
    if (this.#closed) return;
    this.#noteToDevice(readPacket(frame, this.#version), 'gateway');
    this.#options.socket.write(frame);
  }

  cutWithin(frame: Buffer): void {
    if (this.#closed) return;
    this.#options.socket.write(frame.subarray(0, Math.floor(frame.length / 2)), () => this.after(50, () => this.cut()));
  }

  puback(messageId: number | undefined): void {
    if (messageId !== undefined) this.#write({ cmd: 'puback', messageId });
  }

  pubackToGateway(messageId: number | undefined): void {
    if (messageId !== undefined) this.toGateway(writePacket({ cmd: 'puback', messageId }, this.#version));
  }

  answer(answer: Parameters<Asked['answer']>[0]): void {
    const message = this.#asked?.answer(answer);
    if (message !== undefined) this.send(message);
  }

  notice(status: string): void {
    const message = this.#asked?.notice?.(status);
    if (message !== undefined) this.send(message);
  }

  send({ topic, payload }: Outgoing, { dup = false } = {}): void {
    const messageId = this.#ownId++;
    this.#own.add(messageId);
    const correlationData = this.#correlationData;
    const properties =
      this.#version === 5 ? { properties: correlationData === undefined ? {} : { correlationData } } : {};
    this.#write({ cmd: 'publish', topic, payload, qos: 1, dup, retain: false, messageId, ...properties });
  }

  #write(packet: Packet): void {
    if (this.#closed) return;
    this.#noteToDevice(packet, 'case');
    this.#options.socket.write(writePacket(packet, this.#version));
  }

  #noteToDevice(packet: Packet, by: ReplySeen['by']): void {
    const { observation } = this.#options;
    if (packet.cmd === 'puback') {
      observation.note(this.number, { kind: 'puback-to-device', messageId: packet.messageId ?? 0 });
      return;
    }
    if (packet.cmd !== 'publish') return;
    if (packet.topic === timeReplyTopic) observation.note(this.number, { kind: 'time-told', by });
    const content = readReply(packet.topic, Buffer.from(packet.payload));
    if (content === undefined) return;
    if (content.type === 'head') this.#lastPart = content.last;
    const isLast = content.type === 'part' && content.number === this.#lastPart;
    const { type: _, ...more } =
      'status' in content ? content : ({ type: content.type, status: isLast ? 'accepted' : 'part' } as const);
    observation.note(this.number, { kind: 'reply', messageId: packet.messageId, by, ...more });
  }

  #fromGateway(frame: Buffer): void {
    const message = this.#messageOf(readPacket(frame, this.#version));
    if (message.type === 'puback' && this.#again.delete(message.messageId)) return;
    if (message.type === 'reply' && isPending(message.content)) this.pubackToGateway(message.messageId);
    else if (message.type === 'reply' && isToAskAgain(message.content)) this.#askAgain(message.messageId);
    else if (!this.#options.script.fromGateway?.(message, this, frame)) this.toDevice(frame);
  }

  /** In the place of the device, which does not hear that it waits. */
  #askAgain(messageId: number | undefined): void {
    this.pubackToGateway(messageId);
    const packet = this.#askedBy;
    this.after(askAgainMs, () => {
      // it has asked by itself meanwhile
      if (packet === undefined || packet !== this.#askedBy) return;
      const ownId = this.#ownId++;
      this.#again.add(ownId);
      this.toGateway(writePacket({ ...packet, messageId: ownId }, this.#version));
    });
  }

  #messageOf(packet: Packet): FromGateway {
    if (packet.cmd === 'puback') return { type: 'puback', messageId: packet.messageId ?? 0 };
    if (packet.cmd !== 'publish') return { type: 'other' };
    const { topic, messageId } = packet;
    const message = { topic, messageId, payload: Buffer.from(packet.payload) };
    if (topic === timeReplyTopic) return { type: 'time', ...message };
    const content = readReply(topic, message.payload);
    return content === undefined ? { type: 'other' } : { type: 'reply', content, ...message };
  }

  #fromDevice(frame: Buffer): void {
    const packet = readPacket(frame, this.#version);
    if (packet.cmd === 'connect') {
      this.#connect(packet, frame);
      return;
    }
    const { script, observation } = this.#options;
    if (packet.cmd === 'puback') {
      const messageId = packet.messageId ?? 0;
      observation.note(this.number, { kind: 'puback-from-device', messageId });
      if (this.#own.delete(messageId)) return;
    }
    if (packet.cmd === 'subscribe')
      observation.note(this.number, { kind: 'subscribe', topics: packet.subscriptions.map(({ topic }) => topic) });
    const message: FromDevice = packet.cmd === 'publish' ? this.#publication(packet) : { type: 'other' };
    if (!script.fromDevice?.(message, this, frame)) this.toGateway(frame);
  }

  #connect(packet: IConnectPacket, frame: Buffer): void {
    const { script, observation, device, byKey } = this.#options;
    this.#version = (packet.protocolVersion ?? 4) as MqttVersion;
    const password = packet.password?.toString();
    const { clientId } = packet;
    const withToken = password !== undefined;
    observation.note(this.number, { kind: 'connect', version: this.#version, clientId, withToken });
    if (password !== undefined) this.#noteToken(password, 'CONNECT');
    this.#maxPacket = packet.properties?.maximumPacketSize;
    if (script.fromDevice?.({ type: 'connect' }, this, frame)) return;
    const proven = byKey && !withToken;
    this.toGateway(
      proven
        ? writePacket({ ...packet, username: device.serial, password: Buffer.from(device.token) }, this.#version)
        : frame,
    );
  }

  #noteToken(token: string, where: 'CONNECT' | 'the request'): void {
    const { observation, device } = this.#options;
    observation.note(this.number, { kind: 'token', right: token === device.token, in: where });
  }

  #publication(packet: IPublishPacket): FromDevice {
    const { observation } = this.#options;
    const { topic, messageId } = packet;
    const nonce = nonceOfTime(topic);
    if (nonce !== undefined) {
      observation.note(this.number, { kind: 'time-question', nonce });
      return { type: 'time-question', messageId, nonce };
    }
    const asked = this.#readAsked(packet);
    if (asked === undefined) {
      observation.note(this.number, { kind: 'publish', topic });
      return { type: 'other' };
    }
    this.#asked = asked;
    this.#askedBy = packet;
    this.#correlationData = packet.properties?.correlationData;
    if (asked.token !== undefined) this.#noteToken(asked.token, 'the request');
    if (asked.maxPacket !== undefined) this.#maxPacket = asked.maxPacket;
    const { seen } = asked;
    observation.note(this.number, seen);
    return seen.kind === 'request' ? { type: 'request', messageId, request: seen } : { type: 'ack', messageId };
  }

  #readAsked(packet: IPublishPacket): Asked | undefined {
    const { observation, device } = this.#options;
    const connection: Connection = {
      serial: device.serial,
      maxPacket: this.#maxPacket,
      certificateOf: (token) =>
        observation.replies('accepted').find(({ certificateOwnershipToken }) => certificateOwnershipToken === token)
          ?.certificateId,
    };
    return firstOf((dialect) => dialect.readAsked(packet, connection));
  }
}

function firstOf<T>(read: (dialect: CertifyDialect) => T | undefined): T | undefined {
  for (const dialect of [deviceApi, fleetProvisioningDialect]) {
    const found = read(dialect);
    if (found !== undefined) return found;
  }
  return undefined;
}

const readReply = (topic: string, payload: Buffer): ReplyContent | undefined =>
  firstOf((dialect) => dialect.readReply(topic, payload));

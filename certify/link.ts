import type { TLSSocket } from 'node:tls';
import type { IConnectPacket, IPublishPacket, Packet } from 'mqtt-packet';
import { checkCsr } from '../broker/csr.ts';
import type { Answer } from '../protocol/answer.ts';
import { parseAcknowledgement } from '../protocol/cvm/acknowledgement.ts';
import { writeReply } from '../protocol/cvm/reply.ts';
import { type CvmForm, defaultForm, parseRequest } from '../protocol/cvm/request.ts';
import { ackTopic, replyTopic, requestTopic } from '../protocol/cvm/topics.ts';
import { encodingOf, writePayload } from '../protocol/encoding.ts';
import { type MqttVersion, readPacket, takeFrames, writePacket } from './mqtt-packets.ts';
import type { Observation, ReplySeen, RequestSeen } from './observation.ts';
import { readReply } from './replies.ts';
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
const isPending = (message: FromGateway): message is Extract<FromGateway, { type: 'reply' }> =>
  message.type === 'reply' && 'status' in message.content && message.content.status === 'pending';

type ReplyForm = {
  readonly fields: CvmForm;
  readonly maxPacket: number | undefined;
  readonly correlationData?: Buffer;
};

/** One connection of the device, and the one to the gateway that goes with it. */
export class Link implements DeviceLink {
  readonly number: number;
  readonly #options: LinkOptions;
  #version: MqttVersion = 4;
  #form: ReplyForm = { fields: defaultForm('json'), maxPacket: undefined };
  #ownId = firstOwnId;
  readonly #own = new Set<number>();
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
    if (messageId !== undefined) this.#send({ cmd: 'puback', messageId });
  }

  pubackToGateway(messageId: number | undefined): void {
    if (messageId !== undefined) this.toGateway(writePacket({ cmd: 'puback', messageId }, this.#version));
  }

  answer(answer: Extract<Answer, { status: 'pending' | 'rejected' }>): void {
    const { fields, maxPacket } = this.#form;
    const topic = replyTopic(this.#options.device.serial);
    const message = writeReply(answer, fields, { topic, maxPacket, now: Date.now() });
    if (message !== undefined && 'payload' in message && message.payload !== undefined) this.reply(message.payload);
  }

  notice(status: string): void {
    const { id, encoding } = this.#form.fields;
    this.reply(writePayload({ status, ...(id === undefined ? {} : { id }) }, encoding));
  }

  reply(payload: Buffer, { dup = false } = {}): void {
    const messageId = this.#ownId++;
    this.#own.add(messageId);
    const { correlationData } = this.#form;
    const properties =
      this.#version === 5 ? { properties: correlationData === undefined ? {} : { correlationData } } : {};
    const topic = replyTopic(this.#options.device.serial);
    this.#send({ cmd: 'publish', topic, payload, qos: 1, dup, retain: false, messageId, ...properties });
  }

  #send(packet: Packet): void {
    if (this.#closed) return;
    this.#noteToDevice(packet, 'case');
    this.#options.socket.write(writePacket(packet, this.#version));
  }

  #noteToDevice(packet: Packet, by: ReplySeen['by']): void {
    const { observation, device } = this.#options;
    if (packet.cmd === 'puback') {
      observation.note(this.number, { kind: 'puback-to-device', messageId: packet.messageId ?? 0 });
      return;
    }
    if (packet.cmd !== 'publish' || !packet.topic.startsWith(replyTopic(device.serial))) return;
    const content = readReply(Buffer.from(packet.payload));
    const { messageId } = packet;
    if (content.type === 'head') this.#lastPart = content.last;
    const isLast = content.type === 'part' && content.number === this.#lastPart;
    const status = 'status' in content ? content.status : isLast ? 'accepted' : 'part';
    const { errorCode } = 'errorCode' in content ? content : {};
    observation.note(this.number, {
      kind: 'reply',
      status,
      messageId,
      by,
      ...(errorCode === undefined ? {} : { errorCode }),
    });
  }

  #fromGateway(frame: Buffer): void {
    const message = this.#messageOf(readPacket(frame, this.#version));
    if (isPending(message)) this.pubackToGateway(message.messageId);
    else if (!this.#options.script.fromGateway?.(message, this, frame)) this.toDevice(frame);
  }

  #messageOf(packet: Packet): FromGateway {
    if (packet.cmd === 'puback') return { type: 'puback', messageId: packet.messageId ?? 0 };
    if (packet.cmd !== 'publish' || !packet.topic.startsWith('cvm/reply/')) return { type: 'other' };
    const payload = Buffer.from(packet.payload);
    return { type: 'reply', messageId: packet.messageId, content: readReply(payload), payload };
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
    const maxPacket = packet.properties?.maximumPacketSize;
    if (maxPacket !== undefined) this.#form = { ...this.#form, maxPacket };
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
    const { observation, device } = this.#options;
    const { topic, messageId, qos } = packet;
    const payload = Buffer.from(packet.payload);
    if (topic === requestTopic(device.serial)) {
      const request = this.#request(packet, payload);
      observation.note(this.number, request);
      return { type: 'request', messageId, request };
    }
    if (topic === ackTopic(device.serial)) {
      observation.note(this.number, { kind: 'ack', certificateId: parseAcknowledgement(payload), qos });
      return { type: 'ack', messageId };
    }
    observation.note(this.number, { kind: 'publish', topic });
    return { type: 'other' };
  }

  #request({ qos, retain, dup, properties }: IPublishPacket, payload: Buffer): RequestSeen {
    const parsed = parseRequest(payload);
    const encoding = encodingOf(payload);
    const usual = { kind: 'request', encoding, qos, retain, dup } as const;
    const { correlationData } = properties ?? {};
    const beside = correlationData === undefined ? {} : { correlationData };
    const maxPacketOf = (named: number | undefined) =>
      named === undefined || (this.#form.maxPacket ?? named) < named ? this.#form.maxPacket : named;
    if (!parsed.ok) {
      this.#form = { fields: defaultForm(encoding), maxPacket: maxPacketOf(parsed.maxPacket), ...beside };
      return { ...usual, key: undefined, part: 0, wantsPending: true, fault: parsed.problem.message };
    }
    const { token, csr, key, maxPacket: named, ...fields } = parsed.request;
    if (token !== undefined) this.#noteToken(token, 'the request');
    const maxPacket = maxPacketOf(named);
    this.#form = { fields, maxPacket, ...beside };
    const checked = csr === undefined ? undefined : checkCsr(csr);
    const digest = checked === undefined ? key : checked.ok ? checked.keyDigest : undefined;
    const fault = checked === undefined || checked.ok ? {} : { fault: checked.problem.message };
    const { id, part, pending: wantsPending } = fields;
    return { ...usual, id, key: digest, part, maxPacket, wantsPending, ...fault };
  }
}

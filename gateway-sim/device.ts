import type { KeyObject } from 'node:crypto';
import type { IPublishPacket, Packet } from 'mqtt-packet';
import { ackTopic, replyTopic, requestTopic } from '../protocol/cvm/topics.ts';
import { writePayload } from '../protocol/encoding.ts';
import { payloadRoom } from '../protocol/packet-size.ts';
import { derivePsk } from '../protocol/psk.ts';
import type { Behaviour } from './behaviour.ts';
import type { DeviceKey } from './device-key.ts';
import { dropLink, type Link, type LinkEvents, openLink, openSlowLink, startTls, type Target } from './link.ts';
import type { Outcome } from './outcome.ts';
import { encodePacket, takePackets } from './packets.ts';
import { Parts } from './parts.ts';
import { nextRandom } from './random.ts';
import { faultOf, type Reply, readReply } from './reply.ts';
import type { Waiting, Wheel } from './wheel.ts';

export type Credential = { readonly serial: string; readonly token: string };

/** What an accepted device stores in its flash; PEM. */
export type Stored = {
  readonly serial: string;
  readonly certificateId: string;
  readonly certificatePem: string;
  readonly privateKeyPem: string;
};

/** What the devices of a run share. Times in milliseconds. */
export type Surroundings = {
  readonly target: Target;
  readonly wheel: Wheel<Device>;
  now(): number;
  /** for all attempts of a device together */
  readonly timeoutMs: number;
  /** for the answer on one connection */
  readonly patienceMs: number;
  /** between two attempts, at most */
  readonly maxPauseMs: number;
  /** of the CA that must have signed the certificates */
  readonly issuerKey: KeyObject | undefined;
  /** before a device acknowledges, as firmware writes to flash before it does */
  readonly store: ((stored: Stored) => void) | undefined;
  /** how many connections have done TLS and how many devices wait for an answer, now; how many connections were begun */
  readonly count: { open: number; waiting: number; opened: number };
  /** an attempt failed; the device may come back */
  failed(reason: string): void;
  ended(device: Device, outcome: Outcome): void;
};

/** For a connection from its first byte to CONNACK, and from there to SUBACK; and for the PUBACK of an acknowledgement. */
const [connectMs, acknowledgeMs] = [30_000, 30_000];
/** An acknowledgement is repeated after a broken connection; if all fail, the replay window ends by itself. */
const maxAcknowledgements = 5;
/** A ping is sent a while before the keep-alive ends [MQTT-3.1.2-24]. */
const [keepAliveSeconds, pingMs] = [60, 45_000];
/** Before a spent token is shown again. */
const replayAfterMs = 1000;

/** The ids of the packets of one connection. */
const [subscribeId, requestId, acknowledgeId] = [1, 2, 3];

type Phase = 'away' | 'tcp' | 'tls' | 'connect' | 'subscribe' | 'wait' | 'acknowledge' | 'ended';

/**
 * One device as firmware would be: connect, subscribe, ask, wait; when the connection breaks, or the answer says when to come back, try
 * again with full jitter. It stores its credentials, then acknowledges them. Latency runs from the first request to the accepted answer.
 *
 * It is in one phase at a time, and waits for one thing on the wheel. It keeps no promise and no closure: ten thousand of it share a core.
 */
export class Device implements LinkEvents, Waiting {
  readonly number: number;
  slot: number | undefined = undefined;
  readonly #around: Surroundings;
  readonly #credential: Credential;
  readonly #behaviour: Behaviour;
  readonly #key: DeviceKey | undefined;
  #random: number;
  #phase: Phase = 'away';
  #link: Link | undefined = undefined;
  /** the beginning of a packet that is not whole yet */
  #rest: Buffer | undefined = undefined;
  #deadline = 0;
  #patienceEnd = 0;
  #dialledAt = 0;
  #askedAt: number | undefined = undefined;
  #id = '';
  #attempts = 0;
  #acknowledgements = 0;
  #reason = 'no attempt was made';
  #connackMs: number | undefined = undefined;
  #connectedAtFirst = false;
  #told: { position: number | undefined; etaSeconds: number; at: number } | undefined = undefined;
  #answeredAt = 0;
  /** set when its credentials are stored: what is left is to acknowledge them, or to show the spent token again */
  #stored: { certificateId: string; outcome: Outcome } | undefined = undefined;
  #replaying = false;
  /** of a device with small packets: what it has of its reply */
  #parts: Parts | undefined = undefined;

  /** @param seed of its random numbers */
  constructor(
    number: number,
    credential: Credential,
    behaviour: Behaviour,
    key: DeviceKey | undefined,
    seed: number,
    around: Surroundings,
  ) {
    this.number = number;
    this.#behaviour = behaviour;
    this.#key = key;
    this.#random = seed;
    this.#around = around;
    const { serial, token } = credential;
    this.#credential = behaviour.token === 'wrong' ? { serial, token: this.#otherToken() } : { serial, token };
  }

  start(): void {
    this.#deadline = this.#around.now() + this.#around.timeoutMs;
    this.#dial();
  }

  /** Ends it without an outcome. */
  abandon(): void {
    this.#leave();
    this.#around.wheel.cancel(this);
    this.#phase = 'ended';
  }

  due(now: number) {
    if (now >= this.#deadline) return this.#giveUp();
    switch (this.#phase) {
      case 'away':
        return this.#dial();
      case 'tcp':
        return this.#startTls(now);
      case 'wait':
        if (now < this.#patienceEnd) return this.#ping(now);
        return this.#sleeps() ? this.#sleep() : this.#retry('no answer in time');
      case 'acknowledge':
        return this.#retry('no PUBACK for the acknowledgement');
      case 'ended':
        return;
      default:
        return this.#retry(`no answer to ${phaseNames[this.#phase]} in ${connectMs / 1000} s`);
    }
  }

  // ---- the link

  #dial(): void {
    const { target, now, count } = this.#around;
    const slow = this.#behaviour.slowHandshakeSeconds;
    if (this.#stored === undefined) this.#attempts++;
    this.#dialledAt = now();
    count.opened++;
    this.#phase = slow === undefined ? 'tls' : 'tcp';
    this.#wait(this.#dialledAt + connectMs);
    this.#link =
      slow === undefined ? openLink(target, this.number, this, this.#psk()) : openSlowLink(target, this.number, this);
  }

  connected(): void {
    this.#wait(this.#around.now() + (this.#behaviour.slowHandshakeSeconds ?? 0) * 1000);
  }

  #startTls(now: number): void {
    if (this.#link === undefined) return;
    this.#phase = 'tls';
    this.#wait(now + connectMs);
    this.#link = startTls(this.#link, this, this.#psk());
  }

  secured(): void {
    const { serial, token } = this.#credential;
    this.#phase = 'connect';
    this.#around.count.open++;
    // an acknowledgement by itself presents the token in CONNECT, since it has no other place for it
    const byPassword = this.#behaviour.prove === 'password' || (this.#acknowledgesOnly() && this.#psk() === undefined);
    this.#write({
      cmd: 'connect',
      protocolId: 'MQTT',
      protocolVersion: 4,
      clean: true,
      clientId: serial,
      keepalive: keepAliveSeconds,
      ...(byPassword ? { username: serial, password: Buffer.from(token) } : {}),
    });
  }

  received(bytes: Buffer) {
    const link = this.#link;
    try {
      const { packets, rest } = takePackets(this.#rest === undefined ? bytes : Buffer.concat([this.#rest, bytes]));
      // a copy: the part of a TLS record would hold all of it in memory
      this.#rest = rest === undefined ? undefined : Buffer.from(rest);
      // all that these packets make it write goes out together
      link?.cork();
      for (const packet of packets) {
        if (this.#link === undefined) return;
        if (this.#behaviour.linkBreaks > 0 && this.#draw() < this.#behaviour.linkBreaks)
          return this.#retry('the link broke, as the scenario wants');
        this.#hear(packet);
      }
    } catch (error) {
      this.#retry((error as Error).message);
    } finally {
      link?.uncork();
    }
  }

  broken(error: Error | undefined) {
    this.#link = undefined;
    this.#closed();
    // a server that does not know a key says so by an alert, and has no other way
    if (isTlsAlert(error) && this.#behaviour.token === 'wrong' && this.#behaviour.prove === 'psk')
      return this.#end({ kind: 'rejected', errorCode: 'TlsAlert', attempts: this.#attempts });
    this.#retry(error === undefined ? `the connection closed ${closedAt[this.#phase]}` : reasonOf(error));
  }

  /** Closes the connection. A device that will come back says so by a DISCONNECT, where the other side knows it. */
  #leave(lastBytes?: Buffer): void {
    if (this.#link === undefined) return;
    const known = this.#phase === 'subscribe' || this.#phase === 'wait' || this.#phase === 'acknowledge';
    dropLink(this.#link, known ? lastBytes : undefined);
    this.#link = undefined;
    this.#closed();
  }

  #closed(): void {
    if (this.#phase !== 'tcp' && this.#phase !== 'tls') this.#around.count.open--;
    if (this.#phase === 'wait') this.#around.count.waiting--;
    this.#rest = undefined;
  }

  // ---- what it hears

  #hear(packet: Packet) {
    switch (packet.cmd) {
      case 'connack':
        return packet.returnCode === 0 ? this.#welcomed() : this.#unwelcome(packet.returnCode ?? 0);
      case 'suback':
        return packet.granted[0] === 0x80
          ? this.#retry('the broker refused the subscription to cvm/reply/…')
          : this.#ask();
      case 'puback':
        if (packet.messageId === acknowledgeId) this.#acknowledged();
        return;
      case 'publish':
        return this.#answered(packet);
      default:
        return;
    }
  }

  #welcomed() {
    const now = this.#around.now();
    if (this.#connackMs === undefined) {
      this.#connackMs = now - this.#dialledAt;
      this.#connectedAtFirst = this.#attempts === 1;
    }
    if (this.#acknowledgesOnly()) return this.#acknowledge();
    this.#phase = 'subscribe';
    this.#wait(now + connectMs);
    const subscriptions = [{ topic: replyTopic(this.#credential.serial), qos: 1 as const }];
    this.#write({ cmd: 'subscribe', messageId: subscribeId, subscriptions });
  }

  #unwelcome(code: number) {
    const { token } = this.#behaviour;
    if (token === 'wrong')
      return this.#end({ kind: 'rejected', errorCode: `Connack${code}`, attempts: this.#attempts });
    this.#retry(`CONNACK refused the connection: ${refusals[code] ?? 'for a reason of its own'} (${code})`);
  }

  #ask(): void {
    const now = this.#around.now();
    const { serial, token } = this.#credential;
    const { prove, flow, encoding } = this.#behaviour;
    this.#askedAt ??= now;
    this.#phase = 'wait';
    this.#around.count.waiting++;
    // the id is a part of the reply: with another one, the parts that are here would not belong to it
    if ((this.#parts?.next ?? 0) === 0)
      this.#id = `${this.number.toString(36)}-${this.#draw().toString(36).slice(2, 12)}`;
    const proof: { token?: string } = prove === 'payload' ? { token } : {};
    const key = this.#key === undefined ? { key: flow } : { csr: this.#key.csrPem };
    this.#patienceEnd = now + (this.#sleeps() ? this.#awakeMs() : this.#around.patienceMs);
    this.#wait(Math.min(this.#patienceEnd, now + pingMs));
    const request = { ...proof, ...key, ...this.#packetSize(), id: this.#id };
    this.#publish(requestTopic(serial), requestId, writePayload(request, encoding));
  }

  /** How large its packets are, and the first part that is missing. */
  #packetSize(): { maxPacket?: number; part?: number } {
    const { maxPacket } = this.#behaviour;
    if (maxPacket === undefined) return {};
    this.#parts ??= new Parts();
    return { maxPacket, part: this.#parts.next };
  }

  #answered({ topic, payload, qos, messageId }: IPublishPacket) {
    if (qos === 1) this.#write({ cmd: 'puback', messageId: messageId ?? 0 });
    if (this.#phase !== 'wait') return;
    const { maxPacket } = this.#behaviour;
    if (maxPacket !== undefined && payload.length > payloadRoom(topic, maxPacket))
      return this.#end({ kind: 'wrong', reason: 'a packet is larger than it takes', attempts: this.#attempts });
    const reply = this.#parts === undefined ? readReply(payload as Buffer) : this.#parts.take(payload as Buffer);
    if (reply === undefined) return;
    if (reply.status === 'pending') return this.#pending(reply);
    if (this.#replaying) return this.#replayed(reply);
    this.#answeredAt = this.#around.now();
    if (reply.status === 'accepted') return this.#accepted(reply);
    const { retryAfter, errorCode = 'no errorCode' } = reply;
    if (retryAfter === undefined) return this.#end({ kind: 'rejected', errorCode, attempts: this.#attempts });
    this.#retry(`told to come back later: ${errorCode}`, retryAfter * 1000);
  }

  #pending({ position, etaSeconds, retryAfter }: Reply) {
    const now = this.#around.now();
    const { timeoutMs, patienceMs } = this.#around;
    if (etaSeconds !== undefined) this.#told ??= { position, etaSeconds, at: now };
    if (this.#behaviour.whenPending === 'leave' && retryAfter !== undefined)
      return this.#comeBack(now + retryAfter * 1000, 'it left after `pending`, to come back');
    // a device that was told how long it takes waits that long, and then as long as without
    if (!this.#sleeps() && etaSeconds !== undefined)
      this.#patienceEnd = Math.max(this.#patienceEnd, now + Math.min(etaSeconds * 1000, timeoutMs) + patienceMs);
  }

  #accepted(reply: Reply) {
    const { serial } = this.#credential;
    const { issuerKey, store } = this.#around;
    const attempts = this.#attempts;
    const fault =
      this.#behaviour.token === 'wrong'
        ? 'a wrong token was accepted'
        : faultOf(reply, { serial, id: this.#id, ownSpki: this.#key?.spki, issuerKey });
    if (fault !== undefined) return this.#end({ kind: 'wrong', reason: fault, attempts });
    const { certificateId = '', certificatePem = '', privateKey = '' } = reply;
    store?.({ serial, certificateId, certificatePem, privateKeyPem: this.#key?.privateKeyPem ?? privateKey });
    const outcome: Outcome = { kind: 'accepted', latencyMs: this.#answeredAt - (this.#askedAt ?? 0), attempts };
    this.#stored = { certificateId, outcome };
    this.#parts = undefined;
    if (this.#behaviour.acknowledges) this.#acknowledge();
    else this.#end(outcome);
  }

  #acknowledgesOnly(): boolean {
    return this.#stored !== undefined && !this.#replaying;
  }

  #acknowledge(): void {
    const { serial } = this.#credential;
    if (this.#phase === 'wait') this.#around.count.waiting--;
    this.#phase = 'acknowledge';
    this.#acknowledgements++;
    this.#wait(this.#around.now() + acknowledgeMs);
    const payload = writePayload({ certificateId: this.#stored?.certificateId ?? '' }, this.#behaviour.encoding);
    this.#publish(ackTopic(serial), acknowledgeId, payload);
  }

  #acknowledged() {
    if (this.#stored === undefined) return;
    if (this.#behaviour.token !== 'replayed') return this.#end(this.#stored.outcome);
    this.#replaying = true;
    this.#comeBack(this.#around.now() + replayAfterMs, 'it shows its spent token again');
  }

  #replayed(reply: Reply): void {
    const { outcome } = this.#stored as { outcome: Outcome };
    const { attempts } = outcome;
    if (reply.status === 'accepted') this.#end({ kind: 'wrong', reason: 'a spent token was accepted again', attempts });
    else this.#end(outcome, reply.errorCode ?? 'no errorCode');
  }

  // ---- what it does next

  /** Comes back after a pause with full jitter, or after what it was told; a device that has its certificate does not come back for ever. */
  #retry(reason: string, toldMs = 0) {
    this.#reason = reason;
    this.#around.failed(reason);
    const { maxPauseMs } = this.#around;
    if (this.#acknowledgesOnly() && this.#acknowledgements >= maxAcknowledgements)
      return this.#end((this.#stored as { outcome: Outcome }).outcome);
    const jitter = this.#draw() * Math.min(maxPauseMs, 500 * 2 ** Math.min(this.#attempts, 10));
    this.#comeBack(this.#around.now() + Math.max(jitter, Math.min(toldMs, maxPauseMs)), reason);
  }

  #sleeps(): boolean {
    return this.#behaviour.sleepy !== undefined && !this.#replaying;
  }

  /** Devices that were switched on together do not stay in step. */
  #awakeMs(): number {
    return (this.#behaviour.sleepy?.awakeSeconds ?? 0) * 1000 * (0.75 + this.#draw() / 2);
  }

  #sleep(): void {
    const asleepMs = (this.#behaviour.sleepy?.asleepSeconds ?? 0) * 1000 * (0.75 + this.#draw() / 2);
    this.#comeBack(this.#around.now() + asleepMs, 'it fell asleep before its answer came');
  }

  #comeBack(at: number, reason: string): void {
    this.#reason = reason;
    this.#leave(disconnectBytes);
    this.#phase = 'away';
    this.#wait(at);
  }

  /** A stored certificate counts, whatever became of the acknowledgement. */
  #giveUp(): void {
    const timedOut: Outcome = { kind: 'timedOut', reason: this.#reason, attempts: this.#attempts };
    if (this.#phase === 'wait' && !this.#replaying) this.#end({ ...timedOut, reason: 'no answer in time' });
    else this.#end(this.#stored?.outcome ?? timedOut);
  }

  #end(outcome: Outcome, replayRefused?: string): void {
    // without an acknowledgement, what it has just written is not out yet
    this.#leave(this.#behaviour.acknowledges ? undefined : disconnectBytes);
    this.#around.wheel.cancel(this);
    this.#phase = 'ended';
    const { token } = this.#behaviour;
    const wanted = token === 'wrong' ? 'rejected' : 'accepted';
    const expected = outcome.kind === wanted && (token !== 'replayed' || replayRefused !== undefined);
    const [told, connackMs] = [this.#told, this.#connackMs];
    const waitedMs = this.#answeredAt - (told?.at ?? 0);
    const seen = {
      expected,
      connectedAtFirst: this.#connectedAtFirst,
      ...(connackMs === undefined ? {} : { connackMs }),
      ...(told === undefined || this.#answeredAt === 0 ? {} : { told: toldOf(told, waitedMs) }),
      ...(replayRefused === undefined ? {} : { replayRefused }),
    };
    this.#around.ended(this, { ...outcome, seen });
  }

  // ---- small parts

  #psk() {
    if (this.#behaviour.prove !== 'psk') return undefined;
    const { serial, token } = this.#credential;
    return { identity: serial, psk: derivePsk(serial, token) };
  }

  #write(packet: Packet): void {
    this.#link?.write(encodePacket(packet));
  }

  #publish(topic: string, messageId: number, payload: Buffer): void {
    this.#write({ cmd: 'publish', topic, messageId, payload, qos: 1, dup: false, retain: false });
  }

  #ping(now: number): void {
    this.#write({ cmd: 'pingreq' });
    this.#wait(Math.min(this.#patienceEnd, now + pingMs));
  }

  #wait(at: number): void {
    this.#around.wheel.set(this, Math.min(at, this.#deadline));
  }

  #draw(): number {
    const [state, value] = nextRandom(this.#random);
    this.#random = state;
    return value;
  }

  #otherToken(): string {
    return Array.from({ length: 4 }, () => this.#draw().toString(36).slice(2, 10)).join('');
  }
}

/** A gateway that is away, or closes for another reason, has refused nothing. */
/** What OpenSSL says has an address and a place in its source around the words: "80FC…:error:0A00010B:SSL routines:…:wrong version number:../deps/…" */
export const reasonOf = ({ message }: Error): string => {
  const words = /error:[0-9A-F]{8}:[^:]*:[^:]*:([^:]+):/.exec(message)?.[1];
  return words === undefined ? message : `TLS: ${words}`;
};

const isTlsAlert = (error: Error | undefined): boolean =>
  (error as NodeJS.ErrnoException | undefined)?.code?.startsWith('ERR_SSL_') === true;

const disconnectBytes = encodePacket({ cmd: 'disconnect' });

const phaseNames = { tls: "TLS's first message", connect: 'CONNECT', subscribe: 'SUBSCRIBE' } as const;

const closedAt: Readonly<Record<Phase, string>> = {
  away: '',
  ended: '',
  tcp: 'before TLS began',
  tls: 'during the TLS handshake',
  connect: 'before its CONNACK',
  subscribe: 'before its SUBACK',
  wait: 'before the answer came',
  acknowledge: 'before the acknowledgement was taken',
};

/** Table 3.1 of MQTT 3.1.1. */
const refusals: Readonly<Record<number, string>> = {
  1: 'unacceptable protocol version',
  2: 'client identifier rejected',
  3: 'server unavailable',
  4: 'bad user name or password',
  5: 'not authorized',
};

function toldOf(told: { position: number | undefined; etaSeconds: number }, waitedMs: number) {
  const { position, etaSeconds } = told;
  return { etaSeconds, waitedMs, ...(position === undefined ? {} : { position }) };
}

import { randomBytes } from 'node:crypto';
import type { MessageProperties, ReplyForm, SessionView } from '../protocol/dialect.ts';
import type { Encoding } from '../protocol/encoding.ts';
import { hashToken } from '../protocol/token.ts';
import { claimName, recipientIdOf } from '../queue/provisioning-request.ts';
import { makeOwnershipToken } from '../sealing/ownership.ts';
import { deriveReplyKeys, type ReplyKeys, replyKeysOf } from '../sealing/replies.ts';
import type { KeyUnused } from './listener/connection.ts';
import type { PskIdentity } from './listener/psk.ts';

/** Where a connection named the serial that it speaks for; `message`: a SUBSCRIBE or PUBLISH. */
export type NamedBy = 'pre-shared key' | 'user name' | 'message';

/** A token as a connection presented it: its hash, and the keys that open the answers sealed to it. The token itself is not kept. */
export type PresentedToken = { readonly tokenHash: string; readonly recipientId: string; readonly keys: ReplyKeys };

/** The token of a TLS handshake by pre-shared key, which has verified it without the broker seeing it. */
export function tokenOfHandshake({ serial, tokenHash, keys }: PskIdentity): PresentedToken {
  return { tokenHash, recipientId: recipientIdOf(serial, tokenHash), keys: replyKeysOf(keys.replySeed) };
}

/** A claim certificate stands for whatever device a connection names. Its answers are sealed to a secret of this connection alone. */
export type SessionClaim = { readonly id: string; readonly token: PresentedToken };

/** Another connection of the same claim certificate has another secret, and can open nothing of this one. */
export function claimOfHandshake(id: string): SessionClaim {
  const [name, secret] = [claimName(id), randomBytes(32).toString('base64url')];
  const tokenHash = hashToken(secret);
  return { id, token: { tokenHash, recipientId: recipientIdOf(name, tokenHash), keys: deriveReplyKeys(name, secret) } };
}

/** One for all connections. */
const none: readonly never[] = [];

/**
 * What the broker knows of one MQTT connection, from CONNECT to close. It knows nothing of the MQTT library: `send` writes
 * to this connection alone. Its state changes by the methods below only; each says what has happened.
 */
export class Session implements SessionView {
  /** for log and audit */
  readonly remoteAddress: string;
  /** what limits count it under: an IPv4 address, or the /64 of an IPv6 address */
  readonly address: string;
  /** Sends a message to this connection alone. Resolves when it is written. */
  readonly send: (topic: string, payload: Buffer, properties?: MessageProperties) => Promise<void>;
  /** The same, but resolves when the device has acknowledged it; where it subscribed with QoS 0, when it is written. May never settle. */
  readonly deliver: (topic: string, payload: Buffer, properties?: MessageProperties) => Promise<void>;
  /** why its TLS handshake did not use the pre-shared key that the device seems to have */
  readonly keyUnused: KeyUnused | undefined;
  /** why its client certificate is no claim certificate */
  readonly claimFault: string | undefined;
  /** what is sent to it has properties */
  readonly isMqtt5: boolean;
  readonly #onVerified: (serial: string, token: PresentedToken) => void;
  #serial: string | undefined;
  #namedBy: NamedBy | undefined;
  #connectToken: PresentedToken | undefined;
  #malformedPassword: string | undefined;
  #claim: SessionClaim | undefined;
  #encoding: Encoding = 'json';
  /** bytes; of the connection, and of the latest message that named one */
  #maxPacketOfConnection: number | undefined;
  #maxPacketNamed: number | undefined;
  #copyForm: ReplyForm;
  /** undefined for one that never subscribed: most do not */
  #filters: Set<string> | undefined;
  #messagesUnderWay = 0;
  #proven = false;
  #closed = false;
  /** oldest first: a handful (`maxTokensPerConnection`), for which a map would be larger than they are */
  #presented: readonly PresentedToken[] = none;
  /** recipientIds of some of them */
  #verified: readonly string[] = none;

  constructor(options: {
    remoteAddress: string;
    address: string;
    send(topic: string, payload: Buffer, properties?: MessageProperties): Promise<void>;
    deliver(topic: string, payload: Buffer, properties?: MessageProperties): Promise<void>;
    isMqtt5?: boolean;
    keyUnused?: KeyUnused | undefined;
    claimFault?: string | undefined;
    /** called each time that a token of this connection is found to be right */
    onVerified(serial: string, token: PresentedToken): void;
  }) {
    this.remoteAddress = options.remoteAddress;
    this.address = options.address;
    this.send = options.send;
    this.deliver = options.deliver;
    this.keyUnused = options.keyUnused;
    this.claimFault = options.claimFault;
    this.isMqtt5 = options.isMqtt5 ?? false;
    this.#onVerified = options.onVerified;
  }

  /** The one serial that this connection speaks for: the first that it named. */
  get serial(): string | undefined {
    return this.#serial;
  }

  /** A connection speaks for the first serial that it names. @returns false when it already speaks for another serial */
  bindSerial(serial: string, by: NamedBy): boolean {
    this.#serial ??= serial;
    this.#namedBy ??= by;
    return this.#serial === serial;
  }

  /** Where it named its serial. */
  get namedBy(): NamedBy | undefined {
    return this.#namedBy;
  }

  /** The token of the TLS handshake or of CONNECT, which counts for requests that carry none. */
  get connectToken(): PresentedToken | undefined {
    return this.#connectToken;
  }

  /** Of the token of the connection, which is what dialects prove a device by that carry no token in a message. */
  ownershipToken(certificateId: string, endsAt: number): string {
    const token = this.#connectToken ?? this.#claim?.token;
    if (token === undefined) throw new Error('this connection has no token of its own');
    return makeOwnershipToken(token.keys, certificateId, endsAt);
  }

  connectedWith(token: PresentedToken): void {
    this.#connectToken = token;
  }

  connectedByClaim(claim: SessionClaim): void {
    this.#claim = claim;
  }

  /** The claim certificate that counts where the device has shown nothing of its own. */
  get claim(): SessionClaim | undefined {
    return this.#connectToken === undefined && this.#malformedPassword === undefined ? this.#claim : undefined;
  }

  /** The password of CONNECT is no token, for this reason. */
  connectedWithout(malformed: string): void {
    this.#malformedPassword = malformed;
  }

  get malformedPassword(): string | undefined {
    return this.#malformedPassword;
  }

  /** Of the latest message that the device published. */
  get encoding(): Encoding {
    return this.#encoding;
  }

  /** @param maxPacket largest packet that the device takes from now on, in bytes, where the message says so */
  published({ encoding, maxPacket }: { readonly encoding: Encoding; readonly maxPacket?: number | undefined }): void {
    this.#encoding = encoding;
    this.#maxPacketNamed = maxPacket ?? this.#maxPacketNamed;
  }

  /** CONNECT says that it takes no larger packet, in bytes, properties included [MQTT 5, 3.1.2.11.4]. */
  connectedTaking(maxPacket: number): void {
    this.#maxPacketOfConnection = maxPacket;
  }

  /** The largest packet that may be sent to it, in bytes, header included; undefined: any. The one place that says so. */
  get maxPacket(): number | undefined {
    const [first, second] = [this.#maxPacketOfConnection, this.#maxPacketNamed];
    return first === undefined || second === undefined ? (first ?? second) : Math.min(first, second);
  }

  /** Notes a filter of this connection. @param most that a connection may have @returns false where it has that many already: the filter is refused */
  addFilter(filter: string, most: number): boolean {
    this.#filters ??= new Set();
    if (this.#filters.size >= most && !this.#filters.has(filter)) return false;
    this.#filters.add(filter);
    return true;
  }

  removeFilter(filter: string): void {
    this.#filters?.delete(filter);
  }

  /** How certificates that the device asked for on another connection are written to this one; undefined: it wants none. */
  get copyForm(): ReplyForm {
    return this.#copyForm;
  }

  subscribed(copyForm: ReplyForm): void {
    this.#copyForm = copyForm;
  }

  /** [MQTT-3.10.4-2] */
  unsubscribed(): void {
    this.#copyForm = undefined;
  }

  /** Turns a token into what is kept of it. Costs 0.1 ms, so a connection that repeats its token is not charged twice. */
  presentToken(serial: string, token: string): PresentedToken {
    const tokenHash = hashToken(token);
    const recipientId = recipientIdOf(serial, tokenHash);
    return this.keptToken(recipientId) ?? { tokenHash, recipientId, keys: deriveReplyKeys(serial, token) };
  }

  /** Keeps the last `most` different tokens. @returns the one that had to go for this one */
  keepToken(token: PresentedToken, most: number): PresentedToken | undefined {
    const others = this.#presented.filter(({ recipientId }) => recipientId !== token.recipientId);
    this.#presented = [...others, token];
    const [oldest] = this.#presented;
    if (this.#presented.length <= most || oldest === undefined) return undefined;
    this.#forgetToken(oldest);
    return oldest;
  }

  #forgetToken(token: PresentedToken): void {
    this.#presented = this.#presented.filter((each) => each !== token);
    this.#verified = this.#verified.filter((recipientId) => recipientId !== token.recipientId);
  }

  keptToken(recipientId: string): PresentedToken | undefined {
    return this.#presented.find((token) => token.recipientId === recipientId);
  }

  /** The token that was presented last. An acknowledgement is meant for it. */
  get latestToken(): PresentedToken | undefined {
    return this.#presented.at(-1);
  }

  /** This token is known to be right: by the TLS handshake, the roster, or an answer. */
  markVerified(token: PresentedToken): void {
    this.#proven = true;
    if (!this.isVerified(token)) this.#verified = [...this.#verified, token.recipientId];
    if (this.#serial !== undefined) this.#onVerified(this.#serial, token);
  }

  /** Whether a token of it was found right, also after it has closed. */
  get proven(): boolean {
    return this.#proven;
  }

  isVerified({ recipientId }: PresentedToken): boolean {
    return this.#verified.includes(recipientId);
  }

  /** Messages that are being taken in: read, and neither stored nor refused. */
  get messagesUnderWay(): number {
    return this.#messagesUnderWay;
  }

  /** @returns the function that ends it; calling it twice is calling it once */
  beginMessage(): () => void {
    this.#messagesUnderWay++;
    let underWay = true;
    return () => {
      if (underWay) this.#messagesUnderWay--;
      underWay = false;
    };
  }

  /** The connection is gone: no answer is owed to it, and nothing may keep it in memory. */
  get closed(): boolean {
    return this.#closed;
  }

  /** @returns the tokens that it had presented */
  close(): PresentedToken[] {
    this.#closed = true;
    const tokens = [...this.#presented];
    this.#presented = none;
    this.#verified = none;
    return tokens;
  }
}

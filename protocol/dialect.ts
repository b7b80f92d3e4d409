import type { Answer, PendingAnswer } from './answer.ts';
import type { Encoding } from './encoding.ts';
import type { Problem } from './problems.ts';

/** Largest payload of a message of a device, in bytes. */
export const maxPayloadBytes = 8 * 1024;

/**
 * One way to ask for a certificate over MQTT: its topics and its payloads. The broker knows requests, acknowledgements and
 * answers; a dialect reads the first two from what a device publishes, and writes the third. It keeps no state and decides
 * nothing: access, tokens and limits are the broker's, the same for every dialect.
 *
 * `Form` is all that a dialect needs to write an answer to a message: where to, with which id, how encoded. The broker
 * keeps it with the request and gives it back unread.
 */
export interface Dialect<Form = ReplyForm> {
  /** the topics that a device may publish to, in words, for error messages */
  readonly topics: string;
  /** Reads a PUBLISH of a device. @returns undefined when the topic is none of this dialect */
  read(topic: string, payload: Uint8Array, session: SessionView): Message<Form> | undefined;
  /**
   * Reads a topic filter of a SUBSCRIBE. Filters are compared, never matched: one with a wildcard is none of a dialect's.
   * @returns undefined when the filter is none of this dialect
   */
  readFilter(filter: string, session: SessionView): Subscription<Form> | undefined;
  /**
   * The result of telling a device how long it will wait: it was told, and waits on; it was not told; or it was told something that ends its wait.
   * Then it may ask again later, and keeps its place.
   */
  whenPending(form: Form, answer: PendingAnswer): WhenPending;
  /**
   * Writes an answer for a device, so that no packet is longer than `session.maxPacket`.
   * @param now epoch milliseconds @returns undefined where the topic leaves no room for it
   */
  write(answer: Answer, form: Form, session: SessionView, now: number): OutgoingMessage | undefined;
}

export type WhenPending = 'tell' | 'say-nothing' | 'end';

/** A form as the broker holds it. */
export type ReplyForm = unknown;

/** The part of a connection that a dialect may see. */
export type SessionView = {
  /** the serial that it speaks for, from its TLS handshake, its CONNECT or an earlier message */
  readonly serial: string | undefined;
  /** of the latest message that it published */
  readonly encoding: Encoding;
  /**
   * A text of at most 128 characters that proves that a certificate was given to this connection's device. Only the holder of the device's
   * token can use it. @param endsAt epoch milliseconds; it is void afterwards
   */
  ownershipToken(certificateId: string, endsAt: number): string;
  /** the largest packet that it takes, in bytes, header included; undefined: any */
  readonly maxPacket?: number | undefined;
  /** its packets have properties, as MQTT 5 has them */
  readonly isMqtt5?: boolean;
  /** bytes that the packet of a reply has more than one of MQTT 3.1.1 to this topic; undefined: none */
  extraBytes?(topic: string): number;
};

/** A message of a device. `unreadable` is one of which the topic is right and the payload is not; it gets its refusal. */
export type Message<Form = ReplyForm> = MessageContent & {
  /** the serial as the message names it, unchecked; undefined where it names none, and the connection's serial counts */
  readonly serial: string | undefined;
  readonly encoding: Encoding;
  /** the largest packet that the device takes from now on, in bytes, where the message says so */
  readonly maxPacket?: number | undefined;
  readonly form: Form;
};

type MessageContent =
  | { readonly kind: 'request'; readonly request: CertificateRequest }
  | { readonly kind: 'acknowledgement' /** lower-case hex SHA-256 */; readonly certificateId: string }
  | { readonly kind: 'registration'; readonly registration: RegistrationRequest }
  | { readonly kind: 'unreadable'; readonly problem: Problem };

/** A device that has its certificate asks to be registered by a template, which acknowledges the certificate as well. */
export type RegistrationRequest = AskedTemplate & {
  /** as `SessionView` made it */
  readonly ownershipToken: string;
};

/** A provisioning template by its name, unchecked, and what the device says to it. */
export type AskedTemplate = {
  readonly templateName: string;
  readonly parameters: Readonly<Record<string, string>>;
};

/** Where a key pair is made for a device that sends no CSR: `rsa` by AWS IoT Core, `ec` (P-256) by the gateway. */
export type KeyKind = 'rsa' | 'ec';

/** A certificate is asked for. Everything but the token may be logged. */
export type CertificateRequest = {
  readonly token?: string | undefined;
  /** without a token: a key of the payload that was probably to be it, for the refusal */
  readonly misspeltToken?: string | undefined;
  /** PEM or base64 DER, not yet verified */
  readonly csr?: string | undefined;
  readonly key: KeyKind;
  /** is carried out before the certificate works */
  readonly template?: AskedTemplate | undefined;
};

export type Subscription<Form = ReplyForm> = {
  /** the serial as the filter names it, unchecked; undefined where it names none */
  readonly serial: string | undefined;
  /**
   * How certificates that the device asked for on another connection are written to this subscriber. undefined: it hears
   * the answers to its own requests only, as every connection does, subscribed or not.
   */
  readonly copyForm: Form | undefined;
};

/** One packet; or several, of which the next is sent when the device has acknowledged the one before. */
export type OutgoingMessage = {
  readonly topic: string;
  /** for clients that speak MQTT 5; all parts have them */
  readonly properties?: MessageProperties;
  /** why it is a rejection, where the answer itself does not fit */
  readonly unfit?: Problem;
} & ({ readonly payload: Buffer } | { readonly parts: ReplyParts });

/** A reply that is longer than the largest packet, in numbered parts. */
export type ReplyParts = {
  /** of the whole: parts with the same digest, number and size are the same */
  readonly digest: string;
  /** numbers of the first one to send and of the last one */
  readonly first: number;
  readonly last: number;
  /** The payload of a part. */
  part(number: number): Buffer;
};

/** The properties of a message in MQTT 5. */
export type MessageProperties = {
  /** of the request that it answers */
  readonly correlationData?: Buffer | undefined;
  /** Message Expiry Interval, in seconds */
  readonly expirySeconds?: number | undefined;
};

type JoinedForm = { readonly dialect: Dialect; readonly form: ReplyForm };

/** Several dialects as one: the first that knows a topic or a filter reads it, and writes what belongs to it. */
export function joinDialects(dialects: readonly Dialect[]): Dialect<JoinedForm> {
  return {
    topics: dialects.map(({ topics }) => topics).join(', '),
    read(topic, payload, session) {
      for (const dialect of dialects) {
        const message = dialect.read(topic, payload, session);
        if (message !== undefined) return { ...message, form: { dialect, form: message.form } };
      }
      return undefined;
    },
    readFilter(filter, session) {
      for (const dialect of dialects) {
        const subscription = dialect.readFilter(filter, session);
        if (subscription === undefined) continue;
        const { copyForm } = subscription;
        return { ...subscription, copyForm: copyForm === undefined ? undefined : { dialect, form: copyForm } };
      }
      return undefined;
    },
    whenPending: ({ dialect, form }, answer) => dialect.whenPending(form, answer),
    write: (answer, { dialect, form }, session, now) => dialect.write(answer, form, session, now),
  };
}

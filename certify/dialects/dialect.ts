import type { IPublishPacket } from 'mqtt-packet';
import type { Answer } from '../../protocol/answer.ts';
import type { AckSeen, RequestSeen } from '../observation.ts';
import type { ReplyContent } from '../replies.ts';

/** A message to the device, with QoS 1. */
export type Outgoing = { readonly topic: string; readonly payload: Buffer };

/** What a publication of the device is, where it is one of the dialect. */
export type Asked = {
  readonly seen: RequestSeen | AckSeen;
  /** the token that it presents */
  readonly token?: string | undefined;
  /** the largest packet that the device takes from now on, in bytes, where it says so */
  readonly maxPacket?: number | undefined;
  /** An answer to it, as the gateway would write it; undefined where that writes none. */
  answer(answer: Extract<Answer, { status: 'pending' | 'rejected' }>): Outgoing | undefined;
  /** A message with a status that devices do not know, in their encoding; missing where answers have no status. */
  notice?(status: string): Outgoing;
};

/** What is known of the connection. */
export type Connection = {
  readonly serial: string;
  readonly maxPacket: number | undefined;
  /** the certificate that came with an ownership token; undefined for a token that the device was not given */
  certificateOf(ownershipToken: string): string | undefined;
};

/** One way to ask for a certificate, as far as a case looks at it. */
export interface CertifyDialect {
  /** @returns undefined where the topic is none of this dialect */
  readAsked(packet: IPublishPacket, connection: Connection): Asked | undefined;
  /** @returns undefined where the topic is none of its answers */
  readReply(topic: string, payload: Buffer): ReplyContent | undefined;
}

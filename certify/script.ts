import type { Answer } from '../protocol/answer.ts';
import type { Outgoing } from './dialects/dialect.ts';
import type { RequestSeen, ShownCertificate } from './observation.ts';
import type { ReplyContent } from './replies.ts';

/** A packet that came from the device, as far as a case looks at it. */
export type FromDevice =
  | { readonly type: 'connect' }
  | { readonly type: 'request'; readonly messageId: number | undefined; readonly request: RequestSeen }
  | { readonly type: 'ack'; readonly messageId: number | undefined }
  | { readonly type: 'time-question'; readonly messageId: number | undefined; readonly nonce: string }
  | { readonly type: 'other' };

type Published = Outgoing & { readonly messageId: number | undefined };

/** A packet that came from the gateway. */
export type FromGateway =
  | { readonly type: 'puback'; readonly messageId: number }
  | (Published & { readonly type: 'reply'; readonly content: ReplyContent })
  | (Published & { readonly type: 'time' })
  | { readonly type: 'other' };

/** What a case may do with a connection of the device. Message ids are those of MQTT. */
export interface DeviceLink {
  /** Cuts the connection, as a network or a gateway that stops would. */
  cut(): void;
  /** Sends the first half of a packet, and cuts the connection when it is out. */
  cutWithin(frame: Buffer): void;
  /** Does something later, unless the connection has ended by then. */
  after(ms: number, act: () => void): void;
  /** Passes a packet of the gateway on to the device. */
  toDevice(frame: Buffer): void;
  /** The PUBACK of a message of the device that the gateway does not get. */
  puback(messageId: number | undefined): void;
  /** A PUBACK to the gateway, for a message that the device does not get, or gets later. */
  pubackToGateway(messageId: number | undefined): void;
  /** An answer in the form that the device asked for, as the gateway would write it. */
  answer(answer: Extract<Answer, { status: 'pending' | 'rejected' }>): void;
  /** A message with a status that devices do not know, in their encoding. */
  notice(status: string): void;
  /** Any message to the device. */
  send(message: Outgoing, options?: { readonly dup?: boolean }): void;
}

/**
 * What a case does with the packets of a device. Each function returns true for a packet that it has dealt with, which is then not passed
 * on. A script is made anew for every run of its case, and may have a state.
 */
export type Script = {
  /** @param connection its number, from 1. Without this function, each is shown the right certificate */
  show?(connection: number): ShownCertificate;
  fromDevice?(message: FromDevice, link: DeviceLink, frame: Buffer): boolean;
  fromGateway?(message: FromGateway, link: DeviceLink, frame: Buffer): boolean;
};

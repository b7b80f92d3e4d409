import type { ReplyForm } from '../protocol/cvm/reply.ts';
import type { Encoding } from '../protocol/encoding.ts';
import { hashToken } from '../protocol/token.ts';
import { recipientIdOf } from '../queue/provisioning-request.ts';
import type { TokenAttemptOutcome } from '../queue/token-attempts.ts';
import { deriveReplyKeys, type ReplyKeys, replyKeysOf } from '../sealing/replies.ts';
import type { PskIdentity } from './listener/psk.ts';

/** A token as a connection presented it: its hash and what opens the answers sealed to it. The token itself is not kept. */
export type PresentedToken = { readonly tokenHash: string; readonly recipientId: string; readonly keys: ReplyKeys };

/** A question of this connection that waits for its answer. */
export type PendingRequest = {
  readonly requestId: string;
  readonly token: PresentedToken;
  /** `questionOf` the request */
  readonly requestKey: string;
  /** how the latest of them wants its answer */
  form: ReplyForm;
  readonly since: number;
  /** of a token that nobody vouched for: what came of it. `unknown` when the connection left before its answer. Never rejects */
  settle?(outcome: TokenAttemptOutcome): Promise<void>;
  /** its answer is here, and about to be sent; an answer may be announced twice */
  answered?: boolean;
  /** the latest `pending` answer that was sent to it, as it was sealed */
  answeredMeanwhile?: string;
};

/** What the broker knows of one connection. */
export type Session = {
  /** for the log: where it comes from */
  readonly remoteAddress: string | undefined;
  /** the one serial that this connection speaks for: the first that it named */
  serial: string | undefined;
  /** from the TLS handshake or the CONNECT password */
  connectToken: PresentedToken | undefined;
  subscribed: boolean;
  /** its connection is gone: nothing is owed to it, and nothing may hold it */
  left: boolean;
  /** messages that are being taken in */
  underWay: number;
  readonly pending: Map<string, PendingRequest>;
  /** what this connection presented so far, by box, oldest first */
  readonly presented: Map<string, PresentedToken>;
  /** the boxes of those that are known to be right; `markVerified` adds to them */
  readonly verified: Set<string>;
  /** says that this connection has proved a token */
  onVerified(): void;
  /** of what it published last: an answer that belongs to no question of its own is written like that */
  encoding: Encoding;
  /** the requestId of the latest answer that was sent to it, whoever asked */
  lastReplyTo: string | undefined;
  /** payloads that we are sending to it: nothing else may be forwarded */
  readonly sending: WeakSet<object>;
  /** sends a reply to this connection alone; resolves when it is written */
  send(topic: string, payload: Buffer): Promise<void>;
};

export function createSession(
  remoteAddress: string | undefined,
  write: (topic: string, payload: Buffer) => Promise<void>,
  onVerified: () => void = () => {},
): Session {
  const sending = new WeakSet<object>();
  return {
    remoteAddress,
    serial: undefined,
    connectToken: undefined,
    subscribed: false,
    left: false,
    underWay: 0,
    pending: new Map(),
    presented: new Map(),
    verified: new Set(),
    onVerified,
    encoding: 'json',
    lastReplyTo: undefined,
    sending,
    send(topic, payload) {
      sending.add(payload);
      return write(topic, payload);
    },
  };
}

/** Turns a token into what is kept of it. Costs 0.1 ms, so a connection that repeats its token is not charged twice. */
export function presentToken(session: Session, serial: string, token: string): PresentedToken {
  const tokenHash = hashToken(token);
  const recipientId = recipientIdOf(serial, tokenHash);
  return session.presented.get(recipientId) ?? { tokenHash, recipientId, keys: deriveReplyKeys(serial, token) };
}

/** This token is known to be right: whoever presented it is a device of this site. */
export function markVerified(session: Session, recipientId: string): void {
  session.verified.add(recipientId);
  session.onVerified();
}

/** What a TLS handshake by pre-shared key has proven: the token is known to be right, without having been seen. */
export function tokenOfHandshake({ serial, tokenHash, keys }: PskIdentity): PresentedToken {
  return { tokenHash, recipientId: recipientIdOf(serial, tokenHash), keys: replyKeysOf(keys.replySeed) };
}

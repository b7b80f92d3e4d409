/** A reply, sealed to the device's token. `recipientId` names who may get it (`recipientIdOf`). */
export type SealedReply = { readonly requestId: string; readonly recipientId: string; readonly sealed: string };

/** The worker's side. */
export interface ReplyStore {
  /** Stores the reply to a request for some minutes, and announces it to all brokers. Resolves when it is stored. */
  deliver(reply: SealedReply): Promise<void>;
  close(): Promise<void>;
}

/** The one table that a gateway trusts, by its public key. */
export type TableTrust = {
  /** undefined before the gateway has met a table */
  key(): string | undefined;
  /** Meets the table of this Redis, where the gateway has met none: from then on it trusts that one only. */
  meet(): Promise<string | undefined>;
  /** Something came that the trusted table did not sign. */
  reportUnsigned(what: string): void;
};

/**
 * The broker's side: the replies that workers signed for the table that this gateway trusts; others are left out. A broker that was not connected has missed announcements (Redis pub/sub keeps none), but no replies:
 * those are stored, so it fetches the ones that its connections wait for.
 */
export interface ReplyFeed {
  /** Calls `listener` for every announced reply, and `onResume` when announcements may have been missed. */
  listen(listener: (reply: SealedReply) => void, onResume: () => void): Promise<void>;
  /** The replies to those of these requests that have one. */
  fetch(requestIds: readonly string[]): Promise<SealedReply[]>;
  close(): Promise<void>;
}

/** A reply, sealed to the device's token. `recipientId` names who may get it (`recipientIdOf`). */
export type SealedReply = { readonly requestId: string; readonly recipientId: string; readonly sealed: string };

/** The worker's side. */
export interface ReplyStore {
  /** Stores the reply to a request for some minutes, and announces it to all brokers. Resolves when it is stored. */
  deliver(reply: SealedReply): Promise<void>;
  close(): Promise<void>;
}

/**
 * The broker's side. A broker that was not connected has missed announcements (Redis pub/sub keeps none), but no replies:
 * those are stored, so it fetches the ones that its connections wait for.
 */
export interface ReplyFeed {
  /** Calls `listener` for every announced reply, and `onResume` when announcements may have been missed. */
  listen(listener: (reply: SealedReply) => void, onResume: () => void): Promise<void>;
  /** The replies to those of these requests that have one. */
  fetch(requestIds: readonly string[]): Promise<SealedReply[]>;
  close(): Promise<void>;
}

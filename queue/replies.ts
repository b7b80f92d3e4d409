/** A sealed answer on its way. `box` says whose it is, `requestId` which question it answers. */
export type SealedReply = { readonly requestId: string; readonly recipientId: string; readonly sealed: string };

/**
 * The worker's side. Every method resolves when Redis has stored it. A vend's answer is kept for the replay window, so
 * that the same token gets the same certificate again; it is kept by certificate, since a worker that wakes up late must
 * not put the answer of an earlier certificate in its place.
 */
export interface ReplyStore {
  /** Keeps the answer to a question for a while and announces it to all brokers. */
  deliver(reply: SealedReply): Promise<void>;
  keep(recipientId: string, certificateId: string, sealed: string, windowMs: number): Promise<void>;
  /** The sealed answer with this certificate, if it is still there. */
  kept(recipientId: string, certificateId: string): Promise<string | undefined>;
  erase(recipientId: string, certificateId: string): Promise<void>;
  close(): Promise<void>;
}

/**
 * The broker's side. Announcements can be missed (Redis pub/sub keeps nothing for who was away), answers cannot: they
 * wait under their question, so a broker asks again for those that it still owes.
 */
export interface ReplyFeed {
  /** Calls `listener` for every announced answer, and `onResume` whenever announcements may have been missed. */
  listen(listener: (reply: SealedReply) => void, onResume: () => void): Promise<void>;
  /** Of these questions, those that are answered. */
  fetch(requestIds: readonly string[]): Promise<SealedReply[]>;
  close(): Promise<void>;
}

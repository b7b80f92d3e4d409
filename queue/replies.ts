/** A reply, sealed to the device's token. `recipientId` names who may get it (`recipientIdOf`). */
export type SealedReply = { readonly requestId: string; readonly recipientId: string; readonly sealed: string };

/**
 * The worker's side. Every method resolves when Redis has stored the change. A reply with a certificate is kept for the replay
 * window, so that the same token gets the same certificate again. It is kept by certificate: a worker that continues late
 * must not overwrite it with the reply of an earlier certificate.
 */
export interface ReplyStore {
  /** Stores the reply to a request for some minutes, and announces it to all brokers. */
  deliver(reply: SealedReply): Promise<void>;
  keep(recipientId: string, certificateId: string, sealed: string, windowMs: number): Promise<void>;
  /** The sealed reply with this certificate, while it is kept. */
  kept(recipientId: string, certificateId: string): Promise<string | undefined>;
  erase(recipientId: string, certificateId: string): Promise<void>;
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

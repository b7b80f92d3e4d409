/** A reply, sealed to the device's token. `recipientId` names who may get it (`recipientIdOf`). */
export type SealedReply = { readonly requestId: string; readonly recipientId: string; readonly sealed: string };

/** What the signature of a reply says, beside its recipient. */
export type ReplyBinding = {
  /** `requestKeyOf` the request: the reply answers no other one, under whatever id Redis has it */
  readonly requestKey: string;
  /** the one gateway that may deliver it: for what concerns the gateway, and not the device */
  readonly onlyGateway?: string;
};

export type BoundReply = SealedReply & ReplyBinding;

/** The worker's side, for one request. */
export interface ReplyStore {
  deliver(reply: SealedReply): Promise<void>;
}

/** The worker's side, for all requests. */
export interface BoundReplyStore {
  /** Stores the reply to a request for some minutes, and announces it to all brokers. Resolves when it is stored. */
  deliver(reply: BoundReply): Promise<void>;
  close(): Promise<void>;
}

/** The replies that version 0.1.0 kept in Redis: sealed, without a signature. */
export interface EarlierReplies {
  /** The one with this certificate; undefined where there is none. */
  kept(recipientId: string, certificateId: string): Promise<string | undefined>;
  close(): Promise<void>;
}

/** A store whose replies answer this request, and no other one. */
export const boundTo = (store: Pick<BoundReplyStore, 'deliver'>, binding: ReplyBinding): ReplyStore => ({
  deliver: (reply) => store.deliver({ ...reply, ...binding }),
});

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
 * The broker's side: the replies that workers signed for the table that this gateway trusts, and not for another gateway only; others are left out. A broker that was not connected has missed announcements (Redis pub/sub keeps none), but no replies:
 * those are stored, so it fetches the ones that its connections wait for.
 */
export type ReplyIds = Pick<BoundReply, 'requestId' | 'recipientId'>;

export interface ReplyFeed {
  /**
   * Calls `listener` for every announced reply that is wanted, and `onResume` when announcements may have been missed. Every broker hears
   * of all replies of the gateway, and the check of a signature is what costs: `isWanted` is asked before it, about ids that nothing has vouched for yet.
   */
  listen(
    listener: (reply: BoundReply) => void,
    onResume: () => void,
    isWanted: (ids: ReplyIds) => boolean,
  ): Promise<void>;
  /** The replies to those of these requests that have one. */
  fetch(requestIds: readonly string[]): Promise<BoundReply[]>;
  close(): Promise<void>;
}

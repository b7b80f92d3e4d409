import type { GatewayIdentity } from '../sealing/gateway.ts';

/**
 * A gateway that reads this table. Only an approved one is trusted: what others sign is refused, and nothing is sealed to them.
 * `seenAt`: when it last announced itself, in epoch milliseconds, to the minute. `site`: that of the workers that noted it.
 */
export type KnownGateway = GatewayIdentity & {
  readonly state: 'approved' | 'waiting';
  readonly seenAt: number;
  readonly site?: string;
};

/** A gateway that announced itself at this time, by its own clock. Epoch milliseconds. */
export type SeenGateway = { readonly gateway: GatewayIdentity; readonly at: number };

/** The gateways of this table, and the key by which they know the table. */
export interface Gateways {
  /**
   * Notes gateways that announced themselves: one that is new waits for approval. The first of a table that has never
   * approved one is approved by itself. Of the waiting ones the 16 that were seen last are kept.
   * @param site of the worker: a gateway does not choose its site, since the keys of devices are sealed to the gateways of theirs
   * @returns all gateways, and the one that this call approved
   */
  record(
    seen: readonly SeenGateway[],
    now: number,
    site?: string,
  ): Promise<{ readonly known: readonly KnownGateway[]; readonly approved?: KnownGateway }>;
  /** Approved ones first. */
  known(): Promise<readonly KnownGateway[]>;
  /** An operator's decision. */
  approve(id: string): Promise<'approved' | 'was-approved' | 'unknown'>;
  /** Withdraws the approval. A gateway that announces itself again waits for approval. False when it was not known. */
  forget(id: string): Promise<boolean>;
  /**
   * The seed of the key with which workers sign for this table: always the same, however many ask.
   * @param candidate 32 bytes in hex, which becomes the seed where there is none yet
   */
  signingSeed(candidate: string): Promise<string>;
  /** As `signingSeed`, but makes none. */
  findSigningSeed(): Promise<string | undefined>;
}

/** Nothing is sealed to a gateway that has not announced itself for so long. */
const silentMs = 30 * 86_400_000;

/** The gateways to which the keys of a new token are sealed. */
export function gatewaysToSealTo(
  known: readonly KnownGateway[],
  now: number,
): readonly (GatewayIdentity & Pick<KnownGateway, 'site'>)[] {
  return known.filter(({ state, seenAt }) => state === 'approved' && seenAt > now - silentMs);
}

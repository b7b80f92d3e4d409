/** How a simulated device ended. `wrong`: it was accepted, and the answer does not fit together, or it should not have been accepted. */
export type Outcome = (
  | { readonly kind: 'accepted'; readonly latencyMs: number; readonly attempts: number }
  | { readonly kind: 'rejected'; readonly errorCode: string; readonly attempts: number }
  | { readonly kind: 'wrong'; readonly reason: string; readonly attempts: number }
  /** `reason`: why its last attempt failed */
  | { readonly kind: 'timedOut'; readonly reason: string; readonly attempts: number }
) & { readonly seen?: Seen };

/** What else a device noticed on its way. */
export type Seen = {
  /** its scenario wants this end */
  readonly expected: boolean;
  /** its first connection was accepted by CONNACK */
  readonly connectedAtFirst: boolean;
  /** from the first byte that it sent (TCP's SYN) to CONNACK, on its first connection that got one */
  readonly connackMs?: number;
  /** the first `pending` that it was told, and how long it waited from then on */
  readonly told?: { readonly position?: number; readonly etaSeconds: number; readonly waitedMs: number };
  /** the refusal of a token that was spent already */
  readonly replayRefused?: string;
};

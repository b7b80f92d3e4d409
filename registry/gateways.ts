import type { GatewayKey } from '../sealing/device-keys.ts';

/** `seenAt`: when the gateway last announced itself, in epoch milliseconds of its own clock. */
export type KnownGateway = GatewayKey & { readonly seenAt: number };

/** The gateways that read this table: the keys of a new token are sealed to each of them. Times are epoch milliseconds. */
export interface Gateways {
  /** Notes a gateway, unless it was forgotten after it announced itself at `seenAt`. Repeating it changes nothing. */
  record(key: GatewayKey, seenAt: number): Promise<void>;
  /** The gateways that announced themselves in the last 30 days: nothing is sealed to others any more. */
  known(now: number): Promise<KnownGateway[]>;
  /**
   * From now on nothing is sealed to this gateway until it announces itself anew; repeating an earlier announcement does
   * not bring it back. False when it was not known.
   */
  forget(id: string, now: number): Promise<boolean>;
}

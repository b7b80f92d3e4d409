import type { GatewayKey } from '../sealing/device-keys.ts';

/** What of a device's row the brokers of a site know: nothing in it is of use without the token or a gateway's key. */
export type RosterEntry = {
  readonly serial: string;
  /** `sha256:<hex>` */
  readonly tokenHash: string;
  /** by gateway id, see `sealDeviceKeys` */
  readonly sealedKeys?: Readonly<Record<string, string>>;
};

/** `at`: epoch milliseconds */
export type GatewayAnnouncement = GatewayKey & { readonly at: number };

/** A broker that has not introduced itself for so long is gone, or has another key: nobody speaks for it any more. */
export const announcementLifetimeMs = 2 * 86_400_000;

/**
 * The site's copy of who is enrolled. The worker keeps it in line with the association table; brokers read it, since they
 * must know a device's key before its TLS handshake ends, and do not talk to AWS.
 */
export interface RosterStore {
  /** The brokers of this site: those that have introduced themselves within `introducedMs`. */
  gateways(now: number): Promise<GatewayAnnouncement[]>;
  /** True for one keeper at a time; asked again within `leaseMs`, the same one keeps it. */
  lead(rosterSync: string, leaseMs: number): Promise<boolean>;
  /** The last announcement of the table that this copy has taken in; undefined when it was never whole. */
  position(): Promise<{ readonly change: number; readonly wholeAt: number } | undefined>;
  setPosition(position: { readonly change: number; readonly wholeAt: number }): Promise<void>;
  /** Some of the serials that brokers have inquired after; they are inquired after no more. */
  takeRequestedLookups(): Promise<string[]>;
  /** Everybody on the roster, in no order, page by page; some perhaps twice. */
  pages(): AsyncIterable<RosterEntry[]>;
  /** Writes entries, deletes others, and tells the brokers: each batch with what tells of it, or not at all. */
  write(entries: readonly RosterEntry[], gone: readonly string[]): Promise<void>;
  close(): Promise<void>;
}

/** The broker's side. What it is told is that entries have changed, so what it missed it finds by reading all again. */
export interface RosterFeed {
  /** Makes this broker's key known for `introducedMs`, so that devices are enrolled for it. */
  announceGateway(introduction: GatewayAnnouncement): Promise<void>;
  /** Calls `onChange` for entries that were written or are gone, and `onResume` whenever that may have been missed. */
  listen(onChange: (serials: readonly string[]) => void, onResume: () => void): Promise<void>;
  pages(): AsyncIterable<RosterEntry[]>;
  /** Of these serials, those that are on the roster. */
  read(serials: readonly string[]): Promise<RosterEntry[]>;
  /** Wants this serial looked up in the table soon, in case the roster does not know of it yet. Too many are forgotten. */
  requestLookup(serial: string): Promise<void>;
  close(): Promise<void>;
}

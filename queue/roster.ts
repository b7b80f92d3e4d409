import { createHash } from 'node:crypto';
import type { GatewayIdentity, OwnGateway } from '../sealing/gateway.ts';
import type { Fields } from '../sealing/signing.ts';

/** The part of a device's row that brokers know. It is of no use without the token or a gateway's key. */
export type RosterEntry = {
  readonly serial: string;
  /** `sha256:<hex>` */
  readonly tokenHash: string;
  /** by gateway id, see `sealDeviceKeys` */
  readonly sealedKeys?: Readonly<Record<string, string>>;
  /**
   * whole epoch milliseconds up to `latestEnd`, until when the token can get the device its certificate; 0: not any more, and without it: without end.
   * From then on its connections have no better right to a slot than those of a stranger. Entries of earlier versions have none
   */
  readonly validUntil?: number;
};

/** A broker keeps `validUntil` in six bytes, and the highest number of them stands for no end. */
export const latestEnd = 2 ** 48 - 2;

/** An entry with the signature that a worker made for the table over `signedFieldsOf` it. */
export type SignedRosterEntry = RosterEntry & { readonly signature: string };

/** What of an entry is signed. A broker keeps these few bytes instead of the keys that are sealed to other gateways. */
export function signedFieldsOf({ serial, tokenHash, sealedKeys = {}, validUntil }: RosterEntry): Fields {
  const inOrder = Object.keys(sealedKeys)
    .sort()
    .map((id) => [id, sealedKeys[id]]);
  const keys = createHash('sha256').update(JSON.stringify(inOrder)).digest('base64url');
  return { serial, tokenHash, keys, ...(validUntil === undefined ? {} : { validUntil }) };
}

/** A gateway says that it is there. It has signed that itself. `at`: epoch milliseconds */
export type GatewayAnnouncement = { readonly gateway: GatewayIdentity; readonly at: number };

/** The ids of the gateways that the table knows. */
export type GatewayList = { readonly approved: readonly string[]; readonly waiting: readonly string[] };

/** A broker that has not announced its key for so long is gone, or has another key. No device is enrolled for it any more. */
export const announcementLifetimeMs = 2 * 86_400_000;

/** How far the roster follows the table. Times are epoch milliseconds. */
export type RosterPosition = {
  /** the last announcement of devices without a site */
  readonly change: number;
  /** when all devices were compared */
  readonly wholeAt: number;
  /** of a gateway that has one: its site, the last announcement of its devices, and when those that had changed were compared */
  readonly site?: string;
  readonly siteChange?: number;
  readonly comparedAt?: number;
};

/**
 * The site's copy of the enrolled devices. The worker keeps it in line with the association table. Brokers read it: they
 * need a device's key before its TLS handshake ends, and do not call AWS.
 */
export interface RosterStore {
  /** The gateways that announced themselves here within `announcementLifetimeMs`; of hundreds, some. */
  gateways(now: number): Promise<GatewayAnnouncement[]>;
  /** Publishes the table's public key, for gateways that have pinned none yet. */
  publishTableKey(): Promise<void>;
  /** Says which gateways the table knows, for one that is new. */
  publishGatewayList(list: GatewayList): Promise<void>;
  /** Takes the lease of the roster, or extends it. @returns whether this holder, a worker, has it now */
  lead(holder: string, leaseMs: number): Promise<boolean>;
  /** Gives the lease back where this holder has it, so that the next worker need not wait for its end. */
  stopLeading(holder: string): Promise<void>;
  /** Undefined before the first comparison. */
  position(): Promise<RosterPosition | undefined>;
  setPosition(position: RosterPosition): Promise<void>;
  /** Takes some of the serials that brokers want looked up. */
  takeRequestedLookups(): Promise<string[]>;
  /** All entries, in no order, page by page; some may come twice. */
  pages(): AsyncIterable<SignedRosterEntry[]>;
  /** The entries of those of these serials that have one. */
  read(serials: readonly string[]): Promise<SignedRosterEntry[]>;
  /** Writes entries, signed for the table, deletes others, and tells the brokers. Each batch is written together with its announcement, or not at all. */
  write(entries: readonly RosterEntry[], gone: readonly string[]): Promise<void>;
  close(): Promise<void>;
}

/** The broker's side. An announcement only says which entries changed; after a gap the broker reads all of them again. */
export interface RosterFeed {
  /** Says for `announcementLifetimeMs` that this gateway is there, so that devices are enrolled for it once it is approved. */
  announceGateway(gateway: OwnGateway, at: number): Promise<void>;
  /** Calls `onChange` for entries that were written or deleted, and `onResume` when such calls may have been missed. */
  listen(onChange: (serials: readonly string[]) => void, onResume: () => void): Promise<void>;
  pages(): AsyncIterable<SignedRosterEntry[]>;
  /** The entries of those of these serials that have one. */
  read(serials: readonly string[]): Promise<SignedRosterEntry[]>;
  /** Asks the worker to look this serial up in the table soon. Dropped when too many wait. */
  requestLookup(serial: string): Promise<void>;
  close(): Promise<void>;
}

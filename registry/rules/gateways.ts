import { isDeepStrictEqual } from 'node:util';
import { identityOf } from '../../sealing/gateway.ts';
import type { Gateways, KnownGateway, SeenGateway } from '../gateways.ts';
import { conditionsOn, type Rows } from '../rows.ts';
import { confirmed } from './lost-answer.ts';

/** One gateway in the row, under its id. */
export type GatewayEntry = {
  readonly publicKey: string;
  readonly signingKey: string;
  readonly seenAt: number;
  /** `approved`; missing while it waits */
  readonly state?: string;
  readonly site?: string;
};

/** All gateways are in one row: they are few, and their number is decided on together. */
export type GatewayRow = {
  /** counts the changes of the row: each is made to the row as it was read, or not at all */
  readonly revision?: number;
  readonly entries?: Readonly<Record<string, GatewayEntry>>;
  /** the gateway that was approved by itself. It stays when that gateway is forgotten: there is no second one */
  readonly approvedFirst?: string;
  readonly signingSeed?: string;
};

const { is } = conditionsOn<GatewayRow>();

const key = '#gateways';
const approvedState = 'approved';
/** A writer of Redis can announce any number. */
const maxWaiting = 16;
/** A gateway that was seen a moment ago need not be written down again. Milliseconds. */
const seenWithinMs = 60_000;
/** Attempts at one change, when others change the row meanwhile. */
const maxTries = 20;

/** What a change makes of the row; without `set` it stays as it is. */
type Decision<T> = { readonly set?: Omit<GatewayRow, 'revision'>; readonly result: T };

export function createGateways(rows: Rows<GatewayRow>): Gateways {
  async function change<T>(decide: (row: GatewayRow) => Decision<T>): Promise<T> {
    for (let tries = 0; tries < maxTries; tries++) {
      const row = (await rows.find(key)) ?? {};
      const { set, result } = decide(row);
      if (set === undefined) return result;
      const { revision } = row;
      const changed = { ...row, ...set, revision: (revision ?? 0) + 1 };
      const write = async () => (await rows.upsert(key, { set: changed }, is({ revision }))) !== undefined;
      if (await confirmed(write, async () => isSame(changed, await rows.find(key)))) return result;
    }
    throw new Error(`the gateways of the table could not be changed: others changed them ${maxTries} times meanwhile`);
  }

  return {
    record: (seen, now, site) => change((row) => recorded(row, seen, now, site)),
    known: async () => knownOf(entriesOf(await rows.find(key))),
    approve: (id) => change((row) => approvedBy(row, id)),
    forget: (id) => change((row) => forgotten(row, id)),
    signingSeed: (candidate) =>
      change(({ signingSeed }) =>
        signingSeed === undefined ? { set: { signingSeed: candidate }, result: candidate } : { result: signingSeed },
      ),
    findSigningSeed: async () => (await rows.find(key))?.signingSeed,
  };
}

type Recorded = Awaited<ReturnType<Gateways['record']>>;
type Entries = Map<string, GatewayEntry>;

function recorded(
  row: GatewayRow,
  seen: readonly SeenGateway[],
  now: number,
  site: string | undefined,
): Decision<Recorded> {
  const entries = entriesOf(row);
  const changed = seen.filter((each) => note(entries, each, now, site)).length > 0;
  dropOldestWaiting(entries);
  const first = row.approvedFirst === undefined ? seen.find(({ gateway }) => entries.has(gateway.id)) : undefined;
  if (first === undefined) return { ...(changed ? { set: setTo(entries) } : {}), result: { known: knownOf(entries) } };
  const { id } = first.gateway;
  approve(entries, id);
  const known = knownOf(entries);
  const approved = known.find((gateway) => gateway.id === id);
  const result = { known, ...(approved === undefined ? {} : { approved }) };
  return { set: { ...setTo(entries), approvedFirst: id }, result };
}

/** @returns whether that changed an entry */
function note(entries: Entries, { gateway, at }: SeenGateway, now: number, site: string | undefined): boolean {
  const { id, publicKey, signingKey } = gateway;
  const before = entries.get(id);
  // its clock may be ahead of ours
  const seenAt = Math.min(at, now);
  if (before !== undefined && before.site === site && seenAt < before.seenAt + seenWithinMs) return false;
  const { site: _earlier, ...rest } = before ?? {};
  entries.set(id, { ...rest, publicKey, signingKey, seenAt, ...(site === undefined ? {} : { site }) });
  return true;
}

function dropOldestWaiting(entries: Entries): void {
  const waiting = [...entries].filter(([, { state }]) => state !== approvedState);
  const latestFirst = waiting.sort(([, one], [, other]) => other.seenAt - one.seenAt);
  for (const [id] of latestFirst.slice(maxWaiting)) entries.delete(id);
}

function approvedBy(row: GatewayRow, id: string): Decision<Awaited<ReturnType<Gateways['approve']>>> {
  const entries = entriesOf(row);
  if (!entries.has(id)) return { result: 'unknown' };
  if (!approve(entries, id)) return { result: 'was-approved' };
  // from now on none is approved by itself
  return { set: { ...setTo(entries), approvedFirst: row.approvedFirst ?? id }, result: 'approved' };
}

/** @returns false when it was approved before */
function approve(entries: Entries, id: string): boolean {
  const entry = entries.get(id);
  if (entry === undefined || entry.state === approvedState) return false;
  entries.set(id, { ...entry, state: approvedState });
  return true;
}

function forgotten(row: GatewayRow, id: string): Decision<boolean> {
  const entries = entriesOf(row);
  return entries.delete(id) ? { set: setTo(entries), result: true } : { result: false };
}

function entriesOf({ entries = {} }: GatewayRow = {}): Entries {
  return new Map(Object.entries(entries));
}

/** A map without entries is missing in some stores. */
function isSame(one: GatewayRow, other: GatewayRow | undefined): boolean {
  const whole = (row?: GatewayRow) => ({ ...row, entries: entriesOf(row) });
  return isDeepStrictEqual(whole(one), whole(other));
}

function setTo(entries: Entries): Pick<GatewayRow, 'entries'> {
  return { entries: Object.fromEntries(entries) };
}

/** An entry whose id is not that of its keys counts for nothing. */
function knownOf(entries: Entries): readonly KnownGateway[] {
  const known = [...entries].flatMap(([id, { seenAt, state, site, ...keys }]): KnownGateway[] => {
    const identity = identityOf(keys);
    return identity?.id === id
      ? [
          {
            ...identity,
            state: state === approvedState ? state : 'waiting',
            seenAt,
            ...(site === undefined ? {} : { site }),
          },
        ]
      : [];
  });
  const rank = ({ state }: KnownGateway) => (state === 'approved' ? 0 : 1);
  return known.sort((one, other) => rank(one) - rank(other) || one.id.localeCompare(other.id));
}

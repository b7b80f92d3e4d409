import { setTimeout as sleep } from 'node:timers/promises';
import { createGatewayListReader } from '../queue/gateway-list.ts';
import type { RedisConnector } from '../queue/redis.ts';
import { createRosterFeed } from '../queue/redis-roster.ts';
import type { TableTrust } from '../queue/replies.ts';
import type { GatewayList } from '../queue/roster.ts';
import type { Devices } from '../registry/devices.ts';
import { counted } from '../runtime/counted.ts';
import { createOutageLog } from '../runtime/outage-log.ts';
import { SettingsError } from '../runtime/settings-error.ts';
import type { GatewayIdentity, OwnGateway } from '../sealing/gateway.ts';
import { isNewGateway, noteApproved } from '../site-tls/gateway-key.ts';
import { type GatewayRegister, listOf } from '../worker/gateway-register.ts';
import type { App } from './app.ts';

/** How often a new gateway looks for the word of the table: before it starts, and later, until it is approved. Milliseconds. */
const [lookMs, lookLaterMs] = [200, 15_000];
/** When a gateway that waits says so first, and how often then, in milliseconds. */
const [firstSayMs, sayMs] = [5000, 60_000];
/** Where no worker has noted the announcement of a new gateway, it announces itself again after this number of looks. */
const announceAgainAfter = 50;

const waitReason =
  'this gateway is new: it opens its port when a worker has asked the table whether it is the first one. CVM_NEW_SITE=1 opens it now';

/** Answers the questions of a new gateway about its table. */
export type TableWord = {
  /** the gateways that the table knows; undefined until an answer is there */
  gateways(): Promise<GatewayList | undefined>;
  /** how many devices have keys for other gateways only, as far as is known here */
  sealedElsewhere(): Promise<number>;
};

type NewGatewayOptions = {
  ask(): Promise<TableWord>;
  onWait(reason: string | undefined): void;
  /** how often one that started without approval looks for it, in milliseconds */
  readonly everyMs?: number;
};

/**
 * A gateway that has made its key just now may be the first of its table, a further one, or one whose data folder was lost: then no device
 * trusts its new CA, and it must not look as if it worked. It starts when the table has approved it, or knows no other, or the operator
 * says so. Resolves at once for a gateway that was approved before.
 * @throws SettingsError where the table knows other gateways, with the cure
 */
export async function admitNewGateway(
  { settings: { dataDir, newSite }, log, lifecycle }: App,
  id: string,
  { ask, onWait, everyMs = lookLaterMs }: NewGatewayOptions,
): Promise<void> {
  if (!isNewGateway(dataDir)) {
    if (newSite)
      log.warn(
        'CVM_NEW_SITE is set, and the table knows this gateway: unset it, or the loss of the data folder is not noticed',
      );
    return;
  }
  const table = await ask();
  let closed = false;
  const stop = async () => {
    closed = true;
  };
  lifecycle.add({ name: 'word of the table', close: stop });
  const isApproved = async (): Promise<boolean> => {
    const list = await table.gateways().catch(() => undefined);
    if (list?.approved.includes(id) !== true) return false;
    noteApproved(dataDir);
    return true;
  };
  const watch = async (): Promise<void> => {
    while (!closed && !(await isNoted())) await sleep(everyMs, undefined, { ref: false });
  };
  const outage = createOutageLog(log, {
    away: 'that the table has approved this gateway cannot be noted in the data folder; trying again until it can',
    back: 'that the table has approved this gateway is noted',
  });
  /** A gateway at work does not end because a file in its folder cannot be removed. */
  const isNoted = async (): Promise<boolean> => {
    try {
      const noted = await isApproved();
      if (noted) outage.succeeded();
      return noted;
    } catch (err) {
      outage.failed(err);
      return false;
    }
  };
  if (newSite) {
    log.warn({ gateway: id }, 'this gateway is new, and starts since CVM_NEW_SITE is set');
    void watch();
    return;
  }
  onWait(waitReason);
  const list = await untilKnown(id, table, log, () => closed);
  onWait(undefined);
  if (list === undefined || list.approved.includes(id)) {
    if (list !== undefined) noteApproved(dataDir);
    return;
  }
  if (list.approved.length > 0) throw await refusal(id, dataDir, list.approved, table);
  // an operator has forgotten every approved gateway: this one starts, and waits for approval
  void watch();
}

/** Waits until the table has noted this gateway. @returns undefined when the process ends before */
async function untilKnown(
  id: string,
  table: TableWord,
  log: App['log'],
  isClosed: () => boolean,
): Promise<GatewayList | undefined> {
  let sayAt = performance.now() + firstSayMs;
  while (!isClosed()) {
    const list = await table
      .gateways()
      .catch((err: unknown) => void log.debug({ err }, 'the table does not answer a new gateway'));
    if ([...(list?.approved ?? []), ...(list?.waiting ?? [])].includes(id)) return list;
    if (performance.now() >= sayAt) {
      sayAt = performance.now() + sayMs;
      log.warn({ gateway: id }, waitReason);
    }
    await sleep(lookMs, undefined, { ref: false });
  }
  return undefined;
}

async function refusal(
  id: string,
  dataDir: string,
  others: readonly string[],
  table: TableWord,
): Promise<SettingsError> {
  const devices = await table.sealedElsewhere().catch(() => 0);
  const known = `${counted(others.length, 'other gateway')} (${others.join(', ')})`;
  const theirs = devices === 0 ? '' : `, and at least ${counted(devices, 'device')} with keys for others only`;
  return new SettingsError([
    `CVM_NEW_SITE: this gateway, ${id}, is new: it found no key in ${dataDir}. The table knows ${known}${theirs}. Where the folder was lost, restore it from its backup: devices trust the CA in it. Where that cannot be, or this is to be a further gateway, start it with CVM_NEW_SITE=1 or run "cvm tls approve ${id}"; then run "cvm devices reissue" for devices that use TLS-PSK (docs/restoring.md)`,
  ]);
}

/** The word of the table by way of Redis, where a worker leaves it. This gateway announces itself, so that the table notes it. */
export async function wordByRedis(
  { log, lifecycle }: App,
  redis: RedisConnector,
  { gateway, table }: { gateway: OwnGateway; table: TableTrust },
): Promise<TableWord> {
  const feed = createRosterFeed(redis, log);
  lifecycle.add({ name: 'roster feed of a new gateway', close: () => feed.close() });
  const reader = createGatewayListReader(redis, log);
  lifecycle.add({ name: 'gateway list reader', close: () => reader.close() });
  const announce = () => feed.announceGateway(gateway, Date.now());
  await reader.forget();
  await announce();
  let looks = 0;
  return {
    async gateways() {
      if (++looks % announceAgainAfter === 0) await announce();
      const key = await table.meet();
      return key === undefined ? undefined : reader.read(key);
    },
    async sealedElsewhere() {
      let count = 0;
      for await (const page of feed.pages())
        count += page.filter(({ sealedKeys }) => isElsewhere(sealedKeys, gateway.identity.id)).length;
      return count;
    },
  };
}

/** The word of the table itself, where this process has one. */
export function wordByTable(
  gateway: GatewayIdentity,
  {
    gateways,
    registry,
    now,
  }: { gateways: Pick<GatewayRegister, 'note'>; registry: Pick<Devices, 'list'>; now(): number },
): TableWord {
  return {
    async gateways() {
      const known = await gateways.note([{ gateway, at: now() }]);
      return listOf(known);
    },
    async sealedElsewhere() {
      let count = 0;
      for await (const { sealedKeys } of registry.list()) if (isElsewhere(sealedKeys, gateway.id)) count++;
      return count;
    },
  };
}

/** @param sealedKeys of a device */
function isElsewhere(sealedKeys: Readonly<Record<string, string>> = {}, id: string): boolean {
  return Object.keys(sealedKeys).length > 0 && sealedKeys[id] === undefined;
}

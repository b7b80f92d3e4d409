import type { ChainableCommander, Redis } from 'ioredis';
import type { Log } from '../runtime/log.ts';
import type { SigningKey } from '../sealing/signing.ts';
import { publishGatewayList } from './gateway-list.ts';
import { createMalformedReport, type ReportMalformed } from './malformed.ts';
import { disconnectRedis, type RedisConnector, untilFirstTried } from './redis.ts';
import {
  announcementLifetimeMs,
  type GatewayAnnouncement,
  type RosterFeed,
  type RosterStore,
  type SignedRosterEntry,
} from './roster.ts';
import {
  readChangedSerials,
  readGatewayAnnouncement,
  readPosition,
  readRosterEntry,
  toStoredAnnouncement,
  toStoredPosition,
  toStoredRosterEntry,
} from './stored-forms.ts';
import { rosterKeys } from './stored-keys.ts';
import { createTableKeyPublisher, type TableKeyPublisher } from './table-key.ts';
import { execAll } from './transaction.ts';
import { withoutWrongType } from './wrong-type.ts';

/** Entries written in one transaction. */
const batch = 500;

/** Bounds, since clients without a valid token cause lookups: how many wait, how many are taken at a time, when all expire. */
const [maxLookups, lookupsAtATime, lookupSeconds] = [1000, 20, 60];

/** Announcements that are read at a time: a writer of Redis can leave any number there. */
const announcementsAtATime = 100;

/** Without its position, the roster is written anew from the table. */
const wholeRoster = [rosterKeys.entries, rosterKeys.position];

/** In one step: between a GET and a DEL the lease may end, and be another's. */
const deleteOwn = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

/** The worker's side of the roster, in Redis. @param tableKey signs for the table; throws while the table is away */
export function createRosterStore(
  connector: RedisConnector,
  log: Log,
  tableKey: () => Promise<SigningKey>,
): RosterStore & Pick<TableKeyPublisher, 'trouble'> {
  const redis = connector.connect('answer-now', log);
  const tried = untilFirstTried(redis);
  const reportMalformed = createMalformedReport(log);
  const publisher = createTableKeyPublisher(redis, log);
  const owning = <T>(keys: readonly string[], work: () => Promise<T>) =>
    withoutWrongType(redis, keys, reportMalformed, work);
  return {
    async gateways(now) {
      const [, flat] = await owning([rosterKeys.gateways], () =>
        redis.hscan(rosterKeys.gateways, '0', 'COUNT', announcementsAtATime),
      );
      const fresh: GatewayAnnouncement[] = [];
      const gone: string[] = [];
      for (const [id, text] of pairsOf(flat)) {
        const announcement = readGatewayAnnouncement(text);
        if (announcement === undefined) reportMalformed('the announcement of a gateway');
        if (announcement !== undefined && announcement.at > now - announcementLifetimeMs) fresh.push(announcement);
        else gone.push(id);
      }
      if (gone.length > 0) await redis.hdel(rosterKeys.gateways, ...gone);
      return fresh;
    },
    trouble: publisher.trouble,
    async publishTableKey() {
      await tried;
      await publisher.publish(await tableKey());
    },
    async publishGatewayList(list) {
      await publishGatewayList(redis, list, await tableKey());
    },
    async lead(holder, leaseMs) {
      if ((await redis.set(rosterKeys.leader, holder, 'PX', leaseMs, 'NX')) === 'OK') return true;
      const isOurs = (await owning([rosterKeys.leader], () => redis.get(rosterKeys.leader))) === holder;
      // it would end later than any lease of ours: Redis' clock was set back meanwhile
      if (!isOurs && (await redis.pttl(rosterKeys.leader)) > leaseMs) await redis.pexpire(rosterKeys.leader, leaseMs);
      if (!isOurs) return false;
      return (await redis.pexpire(rosterKeys.leader, leaseMs)) === 1;
    },
    async stopLeading(holder) {
      await redis.eval(deleteOwn, 1, rosterKeys.leader, holder);
    },
    async position() {
      const text = await owning([rosterKeys.position], () => redis.get(rosterKeys.position));
      // without one, the whole table is compared
      if (text === null) return undefined;
      const position = readPosition(text, (await tableKey()).publicKey);
      if (position === undefined) reportMalformed('a position of the roster');
      return position;
    },
    async setPosition(position) {
      await redis.set(rosterKeys.position, toStoredPosition(position, await tableKey()));
    },
    takeRequestedLookups: () =>
      owning([rosterKeys.requestedLookups], () => redis.spop(rosterKeys.requestedLookups, lookupsAtATime)),
    pages: () => pagesOf(redis, reportMalformed),
    read: (serials) => owning(wholeRoster, () => entriesOf(redis, serials, reportMalformed)),
    async write(entries, gone) {
      const table = entries.length === 0 ? undefined : await tableKey();
      for (let start = 0; start < entries.length; start += batch) {
        const some = entries.slice(start, start + batch);
        const written = some.flatMap((entry) => (table ? [entry.serial, toStoredRosterEntry(entry, table)] : []));
        await owning(wholeRoster, () =>
          execAll(
            announced(
              redis.multi().hset(rosterKeys.entries, written),
              some.map(({ serial }) => serial),
            ),
          ),
        );
      }
      for (let start = 0; start < gone.length; start += batch) {
        const some = gone.slice(start, start + batch);
        await owning(wholeRoster, () => execAll(announced(redis.multi().hdel(rosterKeys.entries, ...some), some)));
      }
    },
    close: () => disconnectRedis(redis),
  };
}

/** The broker's side of the roster, in Redis. */
export function createRosterFeed(connector: RedisConnector, log: Log): RosterFeed {
  const subscriber = connector.connect('wait', log);
  const reader = connector.connect('wait', log);
  const reportMalformed = createMalformedReport(log);
  const owning = <T>(keys: readonly string[], work: () => Promise<T>) =>
    withoutWrongType(reader, keys, reportMalformed, work);
  return {
    announceGateway: (gateway, at) =>
      owning([rosterKeys.gateways], () =>
        execAll(
          reader
            .multi()
            .hset(rosterKeys.gateways, gateway.identity.id, toStoredAnnouncement(gateway, at))
            .pexpire(rosterKeys.gateways, announcementLifetimeMs),
        ),
      ),
    async listen(onChange, onResume) {
      subscriber.on('message', (_channel, text) => {
        const serials = readChangedSerials(text);
        if (serials === undefined) reportMalformed('a change of the roster');
        else onChange(serials);
      });
      subscriber.on('ready', onResume);
      await subscriber.subscribe(rosterKeys.channel);
    },
    pages: () => pagesOf(reader, reportMalformed),
    read: (serials) => owning(wholeRoster, () => entriesOf(reader, serials, reportMalformed)),
    async requestLookup(serial) {
      const key = rosterKeys.requestedLookups;
      if ((await owning([key], () => reader.scard(key))) >= maxLookups) return;
      await execAll(reader.multi().sadd(key, serial).expire(key, lookupSeconds));
    },
    async close() {
      await Promise.all([disconnectRedis(subscriber), disconnectRedis(reader)]);
    },
  };
}

/**
 * A change together with its announcement. A change without one would stay unknown to brokers: a later comparison finds
 * table and roster equal, and announces nothing.
 */
const announced = (change: ChainableCommander, serials: readonly string[]) =>
  change.publish(rosterKeys.channel, JSON.stringify(serials));

async function* pagesOf(redis: Redis, reportMalformed: ReportMalformed): AsyncIterable<SignedRosterEntry[]> {
  let cursor = '0';
  do {
    const [next, flat] = await withoutWrongType(redis, wholeRoster, reportMalformed, () =>
      redis.hscan(rosterKeys.entries, cursor, 'COUNT', 1000),
    );
    yield pairsOf(flat).flatMap(([serial, text]) => entryOf(serial, text, reportMalformed));
    cursor = next;
  } while (cursor !== '0');
}

async function entriesOf(
  redis: Redis,
  serials: readonly string[],
  reportMalformed: ReportMalformed,
): Promise<SignedRosterEntry[]> {
  if (serials.length === 0) return [];
  const texts = await redis.hmget(rosterKeys.entries, ...serials);
  return serials.flatMap((serial, index) => {
    const text = texts[index];
    return text ? entryOf(serial, text, reportMalformed) : [];
  });
}

/** The names and values of a hash, which Redis gives one after the other. */
function pairsOf(flat: readonly string[]): (readonly [string, string])[] {
  return Array.from({ length: flat.length / 2 }, (_, index) => [flat[2 * index] ?? '', flat[2 * index + 1] ?? '']);
}

/** None where the text is not an entry: the device is then unknown here, and the others are served. */
function entryOf(serial: string, text: string, reportMalformed: ReportMalformed): SignedRosterEntry[] {
  const entry = readRosterEntry(text);
  if (entry === undefined) reportMalformed('an entry of the roster');
  return entry === undefined ? [] : [{ serial, ...entry }];
}

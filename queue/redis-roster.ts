import type { ChainableCommander, Redis } from 'ioredis';
import type { Log } from '../runtime/log.ts';
import { createMalformedReport, type ReportMalformed } from './malformed.ts';
import { disconnectRedis, type RedisConnector } from './redis.ts';
import { announcementLifetimeMs, type RosterEntry, type RosterFeed, type RosterStore } from './roster.ts';
import {
  readChangedSerials,
  readGatewayAnnouncement,
  readPosition,
  readRosterEntry,
  rosterKeys,
} from './stored-forms.ts';

/** Entries written in one transaction. */
const batch = 500;

/** Bounds, since clients without a valid token cause lookups: how many wait, how many are taken at a time, when all expire. */
const [maxLookups, lookupsAtATime, lookupSeconds] = [1000, 20, 60];

/** The worker's side of the roster, in Redis. */
export function createRosterStore(connector: RedisConnector, log: Log): RosterStore {
  const redis = connector.connect('answer-now', log);
  const reportMalformed = createMalformedReport(log);
  return {
    async gateways(now) {
      const texts = Object.values(await redis.hgetall(rosterKeys.gateways));
      const all = texts.flatMap((text) => {
        const announcement = readGatewayAnnouncement(text);
        if (announcement === undefined) reportMalformed('the key of a gateway');
        return announcement ?? [];
      });
      const gone = all.filter(({ at }) => at <= now - announcementLifetimeMs);
      if (gone.length > 0) await redis.hdel(rosterKeys.gateways, ...gone.map(({ id }) => id));
      return all.filter((announcement) => !gone.includes(announcement));
    },
    async lead(holder, leaseMs) {
      if ((await redis.set(rosterKeys.leader, holder, 'PX', leaseMs, 'NX')) === 'OK') return true;
      if ((await redis.get(rosterKeys.leader)) !== holder) return false;
      return (await redis.pexpire(rosterKeys.leader, leaseMs)) === 1;
    },
    async position() {
      const text = await redis.get(rosterKeys.position);
      // without one, the whole table is compared
      return text === null ? undefined : readPosition(text);
    },
    async setPosition(position) {
      await redis.set(rosterKeys.position, JSON.stringify(position));
    },
    takeRequestedLookups: () => redis.spop(rosterKeys.requestedLookups, lookupsAtATime),
    pages: () => pagesOf(redis, reportMalformed),
    async write(entries, gone) {
      for (let start = 0; start < entries.length; start += batch) {
        const some = entries.slice(start, start + batch);
        const written = some.flatMap(({ serial, ...entry }) => [serial, JSON.stringify(entry)]);
        await runAnnounced(
          redis.multi().hset(rosterKeys.entries, written),
          some.map(({ serial }) => serial),
        );
      }
      for (let start = 0; start < gone.length; start += batch) {
        const some = gone.slice(start, start + batch);
        await runAnnounced(redis.multi().hdel(rosterKeys.entries, ...some), some);
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
  return {
    async announceGateway(announcement) {
      await reader
        .multi()
        .hset(rosterKeys.gateways, announcement.id, JSON.stringify(announcement))
        .pexpire(rosterKeys.gateways, announcementLifetimeMs)
        .exec();
    },
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
    async read(serials) {
      if (serials.length === 0) return [];
      const texts = await reader.hmget(rosterKeys.entries, ...serials);
      return serials.flatMap((serial, index) => {
        const text = texts[index];
        return text ? entryOf(serial, text, reportMalformed) : [];
      });
    },
    async requestLookup(serial) {
      if ((await reader.scard(rosterKeys.requestedLookups)) >= maxLookups) return;
      await reader
        .multi()
        .sadd(rosterKeys.requestedLookups, serial)
        .expire(rosterKeys.requestedLookups, lookupSeconds)
        .exec();
    },
    async close() {
      await Promise.all([disconnectRedis(subscriber), disconnectRedis(reader)]);
    },
  };
}

/**
 * Runs a change together with its announcement. A change without one would stay unknown to brokers: a later comparison finds
 * table and roster equal, and announces nothing.
 */
async function runAnnounced(change: ChainableCommander, serials: readonly string[]): Promise<void> {
  const outcomes = await change.publish(rosterKeys.channel, JSON.stringify(serials)).exec();
  for (const [error] of outcomes ?? []) if (error) throw error;
}

async function* pagesOf(redis: Redis, reportMalformed: ReportMalformed): AsyncIterable<RosterEntry[]> {
  let cursor = '0';
  do {
    const [next, flat] = await redis.hscan(rosterKeys.entries, cursor, 'COUNT', 1000);
    const page: RosterEntry[] = [];
    for (let i = 0; i < flat.length; i += 2) page.push(...entryOf(flat[i] ?? '', flat[i + 1] ?? '{}', reportMalformed));
    yield page;
    cursor = next;
  } while (cursor !== '0');
}

/** None where the text is not an entry: the device is then unknown here, and the others are served. */
function entryOf(serial: string, text: string, reportMalformed: ReportMalformed): RosterEntry[] {
  const entry = readRosterEntry(text);
  if (entry === undefined) reportMalformed('an entry of the roster');
  return entry === undefined ? [] : [{ serial, ...entry }];
}

import type { Redis } from 'ioredis';
import type { Log } from '../runtime/log.ts';
import { connectRedis, disconnectRedis, keyPrefix } from './redis.ts';
import type { RosterEntry, RosterFeed, RosterStore } from './roster.ts';

const rosterKey = `${keyPrefix}:roster`;
const gatewaysKey = `${keyPrefix}:roster:gateways`;
const positionKey = `${keyPrefix}:roster:position`;
const leaderKey = `${keyPrefix}:roster:leader`;
const channel = `${keyPrefix}:roster:changed`;
const batch = 500;

/** The worker's side of the roster, in Redis: a hash, from serial to entry. */
export function createRosterStore(redisUrl: string, log: Log): RosterStore {
  const redis = connectRedis(redisUrl, 'answer-now', log);
  return {
    async gateways() {
      return Object.entries(await redis.hgetall(gatewaysKey)).map(([id, publicKey]) => ({ id, publicKey }));
    },
    async lead(keeper, leaseMs) {
      if ((await redis.set(leaderKey, keeper, 'PX', leaseMs, 'NX')) === 'OK') return true;
      if ((await redis.get(leaderKey)) !== keeper) return false;
      return (await redis.pexpire(leaderKey, leaseMs)) === 1;
    },
    async position() {
      const text = await redis.get(positionKey);
      return text === null ? undefined : (JSON.parse(text) as { change: number; wholeAt: number });
    },
    async setPosition(position) {
      await redis.set(positionKey, JSON.stringify(position));
    },
    pages: () => pagesOf(redis),
    async write(entries, gone) {
      for (let start = 0; start < entries.length; start += batch) {
        const some = entries.slice(start, start + batch);
        await redis.hset(
          rosterKey,
          some.flatMap(({ serial, ...entry }) => [serial, JSON.stringify(entry)]),
        );
        await redis.publish(channel, JSON.stringify(some.map(({ serial }) => serial)));
      }
      for (let start = 0; start < gone.length; start += batch) {
        const some = gone.slice(start, start + batch);
        await redis.hdel(rosterKey, ...some);
        await redis.publish(channel, JSON.stringify(some));
      }
    },
    close: () => disconnectRedis(redis),
  };
}

/** The broker's side of the roster, in Redis. */
export function createRosterFeed(redisUrl: string, log: Log): RosterFeed {
  const subscriber = connectRedis(redisUrl, 'wait', log);
  const reader = connectRedis(redisUrl, 'wait', log);
  return {
    async introduce({ id, publicKey }) {
      await reader.hset(gatewaysKey, id, publicKey);
    },
    async listen(onChange, onResume) {
      subscriber.on('message', (_channel, text) => onChange(JSON.parse(text) as string[]));
      subscriber.on('ready', onResume);
      await subscriber.subscribe(channel);
    },
    pages: () => pagesOf(reader),
    async read(serials) {
      if (serials.length === 0) return [];
      const texts = await reader.hmget(rosterKey, ...serials);
      return serials.flatMap((serial, index) => {
        const text = texts[index];
        return text ? [entryOf(serial, text)] : [];
      });
    },
    async close() {
      await Promise.all([disconnectRedis(subscriber), disconnectRedis(reader)]);
    },
  };
}

async function* pagesOf(redis: Redis): AsyncIterable<RosterEntry[]> {
  let cursor = '0';
  do {
    const [next, flat] = await redis.hscan(rosterKey, cursor, 'COUNT', 1000);
    const page: RosterEntry[] = [];
    for (let i = 0; i < flat.length; i += 2) page.push(entryOf(flat[i] ?? '', flat[i + 1] ?? '{}'));
    yield page;
    cursor = next;
  } while (cursor !== '0');
}

function entryOf(serial: string, text: string): RosterEntry {
  return { serial, ...(JSON.parse(text) as Omit<RosterEntry, 'serial'>) };
}

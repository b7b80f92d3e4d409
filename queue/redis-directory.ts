import { randomUUID } from 'node:crypto';
import type { ChainableCommander, Redis } from 'ioredis';
import type { Log } from '../runtime/log.ts';
import {
  type Directory,
  type DirectoryEntry,
  type DirectoryKeeper,
  type DirectoryQuery,
  type DirectoryState,
  directoryStates,
} from './directory.ts';
import { createMalformedReport } from './malformed.ts';
import { answersOf, disconnectRedis, type RedisConnector } from './redis.ts';
import { directoryKeys, rosterKeys } from './stored-keys.ts';
import { execAll } from './transaction.ts';
import { withoutWrongType } from './wrong-type.ts';

/*
 * Each device is a member of one sorted set, that of its state and site: `serial NUL requestedAt NUL registeredAt`, the times in base 36.
 * NUL comes before every character of a serial, so members of equal score have the order of their serials, and those of one serial stand
 * together. A page is a range by member of at most ten sets, merged: no hash beside them, and nothing is scanned.
 */

type Part = { readonly state: DirectoryState; readonly ofSite: boolean; readonly key: string };

const parts: readonly Part[] = directoryStates.flatMap((state) =>
  [false, true].map((ofSite) => ({ state, ofSite, key: directoryKeys.of(state, ofSite) })),
);
const keys = parts.map(({ key }) => key);

/** Where one of the sets is of another type than ours, all of them go, and the mark that they are complete: a worker fills them anew. */
const whole = [...keys, directoryKeys.complete, directoryKeys.filling];

/** Entries in one script. A new one takes some 0.09 ms, and nothing else is answered meanwhile. */
const batch = 100;

/** New entries in one script, where no older ones are looked for: each takes some 0.002 ms, and each script one write to disk. */
const fillBatch = 500;

/** A member as it is written: the times are seconds, before the year 5138. */
const memberForm = /^[A-Za-z0-9:_-]{1,128}\0[0-9a-z]{0,7}\0[0-9a-z]{0,7}$/;

/** How often a page is read anew without what does not belong there, and how much is read of each set for it. */
const [mostReadings, mostRemoved] = [10, 2000];

/** Comes after all that a serial, or a member, has. */
const behind = '\x7f';

/** KEYS: the sets. ARGV: number of the set (from 1, or 0 for none), serial, and the rest of the member of each device. */
const putScript = `
for i = 1, #ARGV, 3 do
  local at, serial = tonumber(ARGV[i]), ARGV[i + 1]
  local member = serial .. '\\0' .. ARGV[i + 2]
  if at == 0 or not redis.call('ZSCORE', KEYS[at], member) then
    local first, last = '[' .. serial .. '\\0', '(' .. serial .. '\\1'
    for _, key in ipairs(KEYS) do redis.call('ZREMRANGEBYLEX', key, first, last) end
    if at > 0 then redis.call('ZADD', KEYS[at], 0, member) end
  end
end
return 0
`;

/**
 * KEYS: the sets, those without and with a site in turns. ARGV: number of the set of registered devices without a site, the time, serials. One
 * that is not there is none of this gateway, or was removed meanwhile.
 */
const noteRegisteredScript = `
for i = 3, #ARGV do
  local serial = ARGV[i]
  for number, key in ipairs(KEYS) do
    local member = redis.call('ZRANGEBYLEX', key, '[' .. serial .. '\\0', '(' .. serial .. '\\1', 'LIMIT', 0, 1)[1]
    if member then
      local requested = string.match(string.sub(member, #serial + 2), '^(%w*)')
      if requested == '' then requested = ARGV[2] end
      redis.call('ZREM', key, member)
      redis.call('ZADD', KEYS[ARGV[1] + (number - 1) % 2], 0, serial .. '\\0' .. requested .. '\\0' .. ARGV[2])
      break
    end
  end
end
return 0
`;

/** KEYS: the sets, and the mark of who fills them. ARGV: the mark as it must be, then number of the set and member of each device. */
const fillScript = `
if redis.call('GET', KEYS[#KEYS]) ~= ARGV[1] then return 0 end
for i = 2, #ARGV, 2 do redis.call('ZADD', KEYS[tonumber(ARGV[i])], 0, ARGV[i + 1]) end
return 1
`;

type Scripts = {
  fillDirectory(...args: (string | number)[]): Promise<number>;
  putIntoDirectory(...args: (string | number)[]): Promise<number>;
  noteRegisteredInDirectory(...args: (string | number)[]): Promise<number>;
};

/** The worker's side of the directory, in Redis. */
export function createDirectoryKeeper(connector: RedisConnector, log: Log): DirectoryKeeper {
  const connected = connector.connect('answer-now', log);
  connected.defineCommand('putIntoDirectory', { numberOfKeys: keys.length, lua: putScript });
  connected.defineCommand('fillDirectory', { numberOfKeys: keys.length + 1, lua: fillScript });
  connected.defineCommand('noteRegisteredInDirectory', { numberOfKeys: keys.length, lua: noteRegisteredScript });
  const redis = connected as Redis & Scripts;
  const reportMalformed = createMalformedReport(log);
  const owning = <T>(work: () => Promise<T>) => withoutWrongType(redis, whole, reportMalformed, work);
  let filling = '';

  async function write<T>(items: readonly T[], argumentsOf: (item: T) => readonly (string | number)[]): Promise<void> {
    for (let start = 0; start < items.length; start += batch) {
      const some = items.slice(start, start + batch).flatMap(argumentsOf);
      await owning(() => redis.putIntoDirectory(...keys, ...some));
    }
  }

  return {
    put: (entries) => write(entries, (entry) => [numberOf(entry), entry.serial, restOf(entry)]),
    remove: (serials) => write(serials, (serial) => [0, serial, '']),
    async noteRegistered(serials, at) {
      const registered = parts.findIndex(({ state }) => state === 'registered') + 1;
      for (let start = 0; start < serials.length; start += batch) {
        const some = serials.slice(start, start + batch);
        await owning(() => redis.noteRegisteredInDirectory(...keys, registered, at.toString(36), ...some));
      }
    },
    isComplete: async () => (await redis.exists(directoryKeys.complete)) === 1,
    async clear() {
      filling = randomUUID();
      await execAll(
        redis
          .multi()
          .unlink(...keys, directoryKeys.complete)
          .set(directoryKeys.filling, filling),
      );
    },
    async fill(entries) {
      for (let start = 0; start < entries.length; start += fillBatch) {
        const some = entries
          .slice(start, start + fillBatch)
          .flatMap((entry) => [numberOf(entry), `${entry.serial}\0${restOf(entry)}`]);
        const filled = await owning(() => redis.fillDirectory(...keys, directoryKeys.filling, filling, ...some));
        if (filled !== 1) throw new Error('another worker fills the list of devices');
      }
    },
    async setComplete() {
      await execAll(redis.multi().set(directoryKeys.complete, '1').unlink(directoryKeys.filling));
    },
    close: () => disconnectRedis(redis),
  };
}

/** The readers' side of the directory, in Redis. */
export function createDirectory(connector: RedisConnector, log: Log): Directory {
  const redis = connector.connect('answer-now', log);
  const reportMalformed = createMalformedReport(log);

  const ask = (add: (pipeline: ChainableCommander) => void): Promise<unknown[]> =>
    withoutWrongType(redis, whole, reportMalformed, () => {
      const pipeline = redis.pipeline();
      add(pipeline);
      return answersOf(pipeline.exec());
    });

  /** @param count of each set, at most @returns them in the order of their serials */
  async function readMembers({ after, ...query }: Parameters<Directory['page']>[0], count: number) {
    const chosen = parts.filter(
      ({ state, ofSite }) => (query.state ?? state) === state && (query.ofSite ?? ofSite) === ofSite,
    );
    const { first, last } = rangeOf(query);
    const from = after === undefined || after < (query.prefix ?? '') ? first : `(${after}\x01`;
    const found = await ask((pipeline) => {
      for (const { key } of chosen) pipeline.zlexcount(key, first, last);
      for (const { key } of chosen) pipeline.zrangebylex(key, from, last, 'LIMIT', 0, count);
    });
    const total = found.slice(0, chosen.length).reduce((sum: number, number) => sum + Number(number), 0);
    const members = chosen.flatMap((part, index) =>
      (found[chosen.length + index] as string[]).map((member): Member => ({ member, part })),
    );
    members.sort((one, other) => (one.member < other.member ? -1 : 1));
    return { members, total };
  }

  return {
    async page(query) {
      for (let reading = 1; ; reading++) {
        const { members, total } = await readMembers(query, reading === 1 ? query.limit + 1 : mostRemoved);
        const malformed = members.filter(({ member }) => !memberForm.test(member));
        if (malformed.length === 0 || reading === mostReadings)
          return pageOf(members, malformed.length, { total, limit: query.limit });
        reportMalformed('an entry of the directory of devices; it is deleted');
        const removing = redis.pipeline();
        for (const { member, part } of malformed) removing.zrem(part.key, member);
        await answersOf(removing.exec());
      }
    },
    async counts() {
      const found = await ask((pipeline) => {
        for (const key of keys) pipeline.zcard(key);
        pipeline.exists(directoryKeys.complete);
      });
      if (found[keys.length] !== 1) return undefined;
      const counts = Object.fromEntries(directoryStates.map((state) => [state, 0])) as Record<DirectoryState, number>;
      for (const [index, { state }] of parts.entries()) counts[state] += Number(found[index]);
      return counts;
    },
    async serialsFrom(text, limit) {
      const found = await ask((pipeline) => {
        for (const key of keys) pipeline.zrangebylex(key, `[${text}`, `(${behind}`, 'LIMIT', 0, limit);
      });
      const serials = (found as string[][]).flat().map((member) => member.split('\0')[0] ?? '');
      return [...new Set(serials)].sort().slice(0, limit);
    },
    async known(serials) {
      if (serials.length === 0) return new Set();
      const pipeline = redis.pipeline();
      for (const serial of serials) pipeline.hexists(rosterKeys.entries, serial);
      const found = await answersOf(pipeline.exec());
      return new Set(serials.filter((_serial, index) => found[index] === 1));
    },
    close: () => disconnectRedis(redis),
  };
}

type Member = { readonly member: string; readonly part: Part };

/** What is no entry is left out. */
function pageOf(
  members: readonly Member[],
  malformed: number,
  { total, limit }: { readonly total: number; readonly limit: number },
) {
  const good = malformed === 0 ? members : members.filter(({ member }) => memberForm.test(member));
  const entries = good.slice(0, limit).map(({ member, part }) => entryOf(member, part));
  return { entries, more: good.length > limit, total };
}

function rangeOf({ prefix = '' }: Pick<DirectoryQuery, 'prefix'>): { readonly first: string; readonly last: string } {
  return { first: prefix === '' ? '-' : `[${prefix}`, last: `(${prefix}${behind}` };
}

const numberOf = ({ state, ofSite }: DirectoryEntry): number =>
  parts.findIndex((part) => part.state === state && part.ofSite === ofSite) + 1;

const restOf = ({ requestedAt, registeredAt }: DirectoryEntry): string =>
  `${requestedAt?.toString(36) ?? ''}\0${registeredAt?.toString(36) ?? ''}`;

function entryOf(member: string, { state, ofSite }: Part): DirectoryEntry {
  const [serial = '', requested = '', registered = ''] = member.split('\0');
  return {
    serial,
    state,
    ofSite,
    ...(requested === '' ? {} : { requestedAt: Number.parseInt(requested, 36) }),
    ...(registered === '' ? {} : { registeredAt: Number.parseInt(registered, 36) }),
  };
}

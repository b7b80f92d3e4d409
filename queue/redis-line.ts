import type { Redis } from 'ioredis';
import type { Log } from '../runtime/log.ts';
import type { Line, LineKeeper, LineView, MissedAnswers } from './line.ts';
import { createMalformedReport } from './malformed.ts';
import { disconnectRedis, type RedisConnector } from './redis.ts';
import { readLineSecond, readPlace } from './stored-forms.ts';
import { jobKey, lineKeys } from './stored-keys.ts';
import { withoutWrongType } from './wrong-type.ts';

/** Places that a look reads at most, besides those of its entries: a rank between two is right within a 64th of the line. */
const marks = 65;

/** For so long a device that comes back for an answer that it missed goes to the front. The reply itself is stored as long. Milliseconds. */
const servedMs = 10 * 60_000;

/** Seconds that are kept of what workers did, and how long after the last of them. */
const [keptSeconds, forgottenSeconds] = [30, 60];

/** A place is a time in microseconds of Redis' clock; when that was set back by more than a year, the requests are entered anew. */
const aheadMicroseconds = 366 * 24 * 3600 * 1e6;

/** Entries whose job is looked for in each report, at the front and at a place that changes. */
const checkedAtATime = 50;

/**
 * The time is that of Redis, so that it is one for all brokers. Where its clock was set back, a new place comes after the last one all the same.
 * KEYS: entries, seconds, wait. ARGV: prefix of jobs, prefix of those served, marks, how far ahead a place may be, seconds kept, then id,
 * recipient and waited ms of each entry.
 */
const lookScript = `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
-- no part of ours writes such a place, and all later ones would come after it
redis.call('ZREMRANGEBYSCORE', KEYS[1], now + tonumber(ARGV[4]), '+inf')
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', -tonumber(ARGV[4]))
local places = {}
for i = 6, #ARGV, 3 do
  local id, served = ARGV[i], ARGV[2] .. ARGV[i + 1]
  local place = redis.call('ZSCORE', KEYS[1], id)
  if redis.call('EXISTS', ARGV[1] .. id) == 0 then
    if place then redis.call('ZREM', KEYS[1], id) end
    place = false
  elseif not place then
    local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
    local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
    place = now - math.floor(tonumber(ARGV[i + 2]) * 1000) + i
    if last and tonumber(last) > now then place = tonumber(last) + 1 end
    if redis.pcall('GET', served) == 'waits' and redis.pcall('LREM', KEYS[3], 1, id) == 1 then
      redis.call('RPUSH', KEYS[3], id)
      redis.call('SET', served, 'came', 'KEEPTTL')
      if first then place = tonumber(first) - 1 end
    end
    place = string.format('%.0f', place)
    redis.call('ZADD', KEYS[1], place, id)
  end
  places[#places + 1] = place or ''
end
local length = redis.call('ZCARD', KEYS[1])
local shown = math.min(length, tonumber(ARGV[3]))
local found = {}
for i = 0, shown - 1 do
  local rank = shown == 1 and 0 or math.floor(i * (length - 1) / (shown - 1))
  found[#found + 1] = redis.call('ZRANGE', KEYS[1], rank, rank, 'WITHSCORES')[2]
end
-- no more than workers keep, and no more of each than they write: a writer of Redis may have put in anything
local seconds = {}
for i, text in ipairs(redis.call('LRANGE', KEYS[2], 0, tonumber(ARGV[5]) - 1)) do seconds[i] = string.sub(text, 1, 40) end
return { time[1], length, places, found, seconds }
`;

/**
 * KEYS: entries, seconds. ARGV: prefix of jobs, prefix of those served, ms that these are kept, seconds kept, seconds after which
 * they are forgotten, entries to check, where to check them (0 to 1), how many were answered, id and recipient of each, ids of those that have lost their place.
 */
const reportScript = `
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local answered = tonumber(ARGV[8])
local after = 9 + 2 * answered
for i = 9, after - 1, 2 do
  if redis.call('ZREM', KEYS[1], ARGV[i]) == 1 then
    redis.call('SET', ARGV[2] .. ARGV[i + 1], 'waits', 'PX', ARGV[3], 'NX')
  end
end
for i = after, #ARGV do
  local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
  if last then redis.call('ZADD', KEYS[1], 'XX', string.format('%.0f', math.max(now, tonumber(last) + 1)), ARGV[i]) end
end
local function check(from)
  for _, id in ipairs(redis.call('ZRANGE', KEYS[1], from, from + ARGV[6] - 1)) do
    if redis.call('EXISTS', ARGV[1] .. id) == 0 then redis.call('ZREM', KEYS[1], id) end
  end
end
check(0)
check(math.floor(redis.call('ZCARD', KEYS[1]) * ARGV[7]))
local length = redis.call('ZCARD', KEYS[1])
if answered > 0 or length > 0 then
  local second, before = string.match(redis.call('LINDEX', KEYS[2], 0) or '', '^(%d+) (%d+) ')
  if second == time[1] then
    redis.call('LSET', KEYS[2], 0, second .. ' ' .. string.format('%.0f', before + answered) .. ' ' .. length)
  else
    redis.call('LPUSH', KEYS[2], time[1] .. ' ' .. answered .. ' ' .. length)
    redis.call('LTRIM', KEYS[2], 0, ARGV[4] - 1)
  end
  redis.call('EXPIRE', KEYS[2], ARGV[5])
end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2]
return { length, first and string.format('%.0f', math.max(0, now - tonumber(first))) or '0' }
`;

type Scripts = {
  lookAtLine(...args: (string | number)[]): Promise<[string, number, string[], string[], string[]]>;
  reportToLine(...args: (string | number)[]): Promise<[number, string]>;
};

function withScripts(redis: Redis): Redis & Scripts {
  redis.defineCommand('lookAtLine', { numberOfKeys: 3, lua: lookScript });
  redis.defineCommand('reportToLine', { numberOfKeys: 2, lua: reportScript });
  return redis as Redis & Scripts;
}

const ownKeys = [lineKeys.entries, lineKeys.seconds];

/** The broker's side of the line, in Redis. */
export function createLine(connector: RedisConnector, log: Log): Line {
  const redis = withScripts(connector.connect('answer-now', log));
  const reportMalformed = createMalformedReport(log);

  function viewOf([second, length, , found, seconds]: Awaited<ReturnType<Scripts['lookAtLine']>>): LineView {
    const read = seconds.map(readLineSecond);
    const places = found.map(readPlace);
    if ([...read, ...places].includes(undefined)) reportMalformed('an entry of the line');
    const known = <T>(each: T | undefined): each is T => each !== undefined;
    return { second: Number(second), length, marks: places.filter(known), seconds: read.filter(known) };
  }

  return {
    async look(entries) {
      const shown = entries.flatMap(({ requestId, recipientId, waitedMs }) => [requestId, recipientId, waitedMs]);
      const bounds = [marks, aheadMicroseconds, keptSeconds];
      const found = await withoutWrongType(redis, ownKeys, reportMalformed, () =>
        redis.lookAtLine(...ownKeys, jobKey('wait'), jobKey(''), lineKeys.served, ...bounds, ...shown),
      );
      return { view: viewOf(found), places: found[2].map(readPlace) };
    },
    close: () => disconnectRedis(redis),
  };
}

/** The worker's side of the line, in Redis. @param random says where entries are checked, from 0 to 1 */
export function createLineKeeper(connector: RedisConnector, log: Log, random: () => number = Math.random): LineKeeper {
  const redis = withScripts(connector.connect('answer-now', log));
  const reportMalformed = createMalformedReport(log);
  return {
    async report(answered, lostPlace) {
      const done = answered.flatMap(({ requestId, recipientId }) => [requestId, recipientId]);
      const bounds = [servedMs, keptSeconds, forgottenSeconds, checkedAtATime, random(), answered.length];
      const [length, oldest] = await withoutWrongType(redis, ownKeys, reportMalformed, () =>
        redis.reportToLine(...ownKeys, jobKey(''), lineKeys.served, ...bounds, ...done, ...lostPlace),
      );
      return { length, oldestSeconds: Number(oldest) / 1e6 };
    },
    close: () => disconnectRedis(redis),
  };
}

/** Devices that come back for an answer that they missed, in Redis. */
export function createMissedAnswers(connector: RedisConnector, log: Log): MissedAnswers {
  const redis = connector.connect('answer-now', log);
  const reportMalformed = createMalformedReport(log);
  return {
    async comesBack(recipientId) {
      const key = `${lineKeys.served}${recipientId}`;
      const before = await withoutWrongType(redis, [key], reportMalformed, () =>
        redis.call('SET', key, 'passed', 'XX', 'KEEPTTL', 'GET'),
      );
      return before === 'waits' || before === 'came';
    },
    close: () => disconnectRedis(redis),
  };
}

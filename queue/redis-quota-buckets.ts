import type { Redis } from 'ioredis';
import type { Log } from '../runtime/log.ts';
import { createMalformedReport } from './malformed.ts';
import { disconnectRedis, type RedisConnector } from './redis.ts';
import { quotaBucketsKey } from './stored-keys.ts';
import { withoutWrongType } from './wrong-type.ts';

type CallCounts = Readonly<Record<string, number>>;

/** The numbers by which the buckets fill, in the order in which the script takes them. */
type Rule = Readonly<Record<(typeof ruleNames)[number] | 'ceiling', number>>;
const ruleNames = [
  'burstSeconds',
  'leastBurst',
  'cut',
  'steepCut',
  'steepMs',
  'growth',
  'quietMs',
  'doubleMs',
  'floor',
  'debtSeconds',
] as const;

/**
 * The buckets of `aws/quota-buckets.ts`, which all workers of a gateway share; a contract holds both to the same numbers. By the clock of Redis; a
 * bucket of the future, as after a step of that clock, counts as one of now. What is no bucket counts as none.
 * A field of the hash: level, time, share, time of the last cut, whether that was steep.
 */
const script = `
local verb, sentMsAgo = ARGV[1], tonumber(ARGV[2])
local burstSeconds, leastBurst, cut, steepCut, steepMs, growth, quietMs, doubleMs, floor, debtSeconds =
  tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]),
  tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
local time = redis.call('time')
local now = tonumber(time[1]) * 1000 + tonumber(time[2]) / 1000

local function stored(operation)
  local text = redis.call('hget', KEYS[1], operation)
  if not text or #text > 100 then return nil end
  local level, at, share, cutAt, steep = string.match(text, '^(%-?%d+%.%d+) (%d+%.%d+) (%d%.%d+) (%d+%.%d+) ([01])$')
  if not level then return nil end
  return { level = tonumber(level), at = math.min(now, tonumber(at)), share = math.max(floor, math.min(1, tonumber(share))),
    cutAt = math.min(now, tonumber(cutAt)), steep = steep == '1' }
end

local function filled(operation, limit)
  local burst = math.max(leastBurst, limit * burstSeconds)
  local bucket = stored(operation) or { level = burst, at = now, share = 1, cutAt = 0, steep = false }
  local calm = now - bucket.cutAt
  local grown = (bucket.share ^ 4 + 4 * growth * math.min(calm, quietMs) / 1000) ^ (1 / 4)
  bucket.used = math.min(1, math.max(floor, grown * 2 ^ (math.max(0, calm - quietMs) / doubleMs)))
  bucket.rate = limit * bucket.used
  bucket.burst = burst
  bucket.level = math.min(burst, bucket.level + (now - bucket.at) / 1000 * bucket.rate)
  bucket.level = math.max(bucket.level, -limit * debtSeconds)
  return bucket
end

local function keep(operation, bucket)
  redis.call('hset', KEYS[1], operation, string.format('%.6f %.3f %.6f %.3f %d',
    math.min(bucket.burst, bucket.level), now, bucket.share, bucket.cutAt, bucket.steep and 1 or 0))
end

local buckets = {}
for i = 13, #ARGV, 3 do
  local bucket = filled(ARGV[i], tonumber(ARGV[i + 1]))
  bucket.operation, bucket.count = ARGV[i], tonumber(ARGV[i + 2])
  buckets[#buckets + 1] = bucket
end

if verb == 'rates' then
  local rates = {}
  for i, bucket in ipairs(buckets) do rates[i] = string.format('%.6f', bucket.rate) end
  return rates
end
if verb == 'throttled' then
  local bucket = buckets[1]
  if now - sentMsAgo < bucket.cutAt then return {} end
  local steep = bucket.used >= 1
  local again = bucket.steep and now - bucket.cutAt < steepMs
  bucket.share = math.max(floor, bucket.used * ((steep or again) and steepCut or cut))
  bucket.level, bucket.cutAt, bucket.steep = math.min(0, bucket.level), now, steep
  keep(bucket.operation, bucket)
  return { string.format('%.6f', bucket.rate / bucket.used * bucket.share) }
end
local wait = 0
if verb == 'all' then
  for _, bucket in ipairs(buckets) do
    wait = math.max(wait, (math.min(bucket.count, bucket.burst) - bucket.level) / bucket.rate * 1000)
  end
  if wait > 0 then return { string.format('%.3f', wait) } end
end
for _, bucket in ipairs(buckets) do
  bucket.level = bucket.level + (verb == 'back' and bucket.count or -bucket.count)
  keep(bucket.operation, bucket)
  if verb == 'one' then wait = math.max(0, -bucket.level / bucket.rate * 1000) end
end
return { string.format('%.3f', wait) }`;

type WithScript = Redis & { quotaBuckets(key: string, ...args: (string | number)[]): Promise<string[]> };

/**
 * All workers of a gateway take their tokens here. Every call fails without Redis: a caller that must go on then has a way of its own.
 * @param limits calls a second, by operation
 */
export function createQuotaBuckets(connector: RedisConnector, log: Log, limits: CallCounts, rule: Rule) {
  const redis = connector.connect('answer-now', log) as WithScript;
  redis.defineCommand('quotaBuckets', { numberOfKeys: 1, lua: script });
  const reportMalformed = createMalformedReport(log);
  const numbers = ruleNames.map((name) => rule[name]);

  async function run(verb: string, calls: CallCounts, sentMsAgo = 0): Promise<number[]> {
    const wanted = Object.entries(calls).flatMap(([operation, count]) => [
      operation,
      (limits[operation] ?? 0) * rule.ceiling,
      count,
    ]);
    const answers = await withoutWrongType(redis, [quotaBucketsKey], reportMalformed, () =>
      redis.quotaBuckets(quotaBucketsKey, verb, sentMsAgo, ...numbers, ...wanted),
    );
    return answers.map(Number);
  }

  return {
    takeAll: async (calls: CallCounts): Promise<number> => (await run('all', calls))[0] ?? 0,
    takeOne: async (operation: string): Promise<number> => (await run('one', { [operation]: 1 }))[0] ?? 0,
    async giveBack(calls: CallCounts): Promise<void> {
      await run('back', calls);
    },
    throttled: async (operation: string, sentMsAgo: number): Promise<number | undefined> =>
      (await run('throttled', { [operation]: 1 }, sentMsAgo))[0],
    async rates(): Promise<CallCounts> {
      const found = await run('rates', limits);
      return Object.fromEntries(Object.keys(limits).map((operation, index) => [operation, found[index] ?? 0]));
    },
    close: () => disconnectRedis(redis),
  };
}

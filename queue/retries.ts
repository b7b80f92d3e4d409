import type { Redis } from 'ioredis';
import type { Log } from '../runtime/log.ts';
import type { ReportMalformed } from './malformed.ts';
import { deleteWrongQueueKeys } from './queue-keys.ts';
import { jobKey } from './stored-keys.ts';
import { afterHealing } from './wrong-type.ts';

/** Longest wait between two attempts at one request, in milliseconds. */
export const longestBackoffMs = 30_000;

/**
 * BullMQ puts a delayed request at the end of its list when its time has come. One that keeps its place is delayed by so much more, and a worker
 * takes it to the front before that. This is the end of its wait where all workers are away. Milliseconds.
 */
export const placeKeptMs = 2 * longestBackoffMs;

/** Failures of a request, while others were answered, after which it loses its place. */
const ownFailures = 3;

/** Requests with such failures that a worker remembers. */
const remembered = 10_000;

/** How often a worker looks whether a time has come, in milliseconds, and at which of its looks also without one of its own: another worker may have been killed. */
const [everyMs, othersEvery] = [250, 8];

/**
 * Which requests are taken to the front: those that BullMQ would take up within `withinMs`, `atATime` in one script. Ten thousand take Redis
 * some 50 ms, by estimate, once after an outage.
 */
type Selection = { readonly withinMs: number; readonly atATime: number };
const due: Selection = { withinMs: placeKeptMs, atATime: 1000 };
const all: Selection = { withinMs: placeKeptMs + longestBackoffMs, atATime: 10_000 };

/**
 * A request that was taken up before stood before all that were not, so the front is its place: the right end, from which the next one is
 * taken. Those that are there already are put in order with the new ones. KEYS: delayed, wait, marker. ARGV: prefix
 * of jobs, first and last score, how many. Returns how many it took, and the next score.
 */
const toFrontScript = `
local limit, found = tonumber(ARGV[4]), {}
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], ARGV[2], ARGV[3], 'LIMIT', 0, limit)
local function add(id, arrived) found[#found + 1] = { id, tonumber(arrived) or 0 } end
for _, id in ipairs(ids) do
  redis.call('ZREM', KEYS[1], id)
  local arrived = redis.pcall('HGET', ARGV[1] .. id, 'timestamp')
  if type(arrived) == 'string' then
    redis.call('HSET', ARGV[1] .. id, 'delay', 0)
    add(id, arrived)
  end
end
if #found > 0 then
  for _ = 1, limit do
    local id = redis.call('LINDEX', KEYS[2], -1)
    local job = id and redis.pcall('HMGET', ARGV[1] .. id, 'ats', 'timestamp')
    if not job or not job[1] then break end
    redis.call('RPOP', KEYS[2])
    add(id, job[2])
  end
  table.sort(found, function(one, other) return one[2] > other[2] end)
  for _, request in ipairs(found) do redis.call('RPUSH', KEYS[2], request[1]) end
  -- wakes a worker of BullMQ that waits for work
  redis.call('ZADD', KEYS[3], 0, '0')
end
local next = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. ARGV[3], '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
return { #ids, next or false }
`;

type Scripts = { takeToFront(...args: (string | number)[]): Promise<[number, string | null]> };

const keys = ['delayed', 'wait', 'marker'].map(jobKey);

/**
 * When a request that failed is tried again, and in which place. It keeps its place while the failure may be that of AWS: then a whole line
 * fails, and is served in the order of its arrival afterwards. A request that fails again and again while others are answered goes to
 * the end each time, so that no number of them holds the others up.
 * @param random from 0 to 1 @param placeLost called with the id of a request that goes to the end
 */
export function createRetries(options: {
  redis: Redis;
  log: Log;
  reportMalformed: ReportMalformed;
  random: () => number;
  maxBackoffMs: number;
  placeLost(id: string): void;
  now?: () => number;
}) {
  const { redis, log, reportMalformed, random, maxBackoffMs, placeLost, now = () => Date.now() } = options;
  redis.defineCommand('takeToFront', { numberOfKeys: keys.length, lua: toFrontScript });
  const failures = new Map<string, number>();
  const answeredBefore = new WeakMap<object, number>();
  let answered = 0;
  let [nextDue, ticks] = [Number.POSITIVE_INFINITY, 0];
  // a worker that starts does not know
  let [isOutage, outageEnded] = [true, Number.NEGATIVE_INFINITY];
  let wanted: Selection | undefined;
  let running: Promise<void> | undefined;

  async function takeToFront(selection: Selection): Promise<void> {
    // later than all that have lost their place, by a score of BullMQ: the time, and 12 bits that keep the order of equal times
    const [from, to] = [longestBackoffMs, selection.withinMs].map((ms) => (now() + ms + 1) * 0x1000) as [
      number,
      number,
    ];
    const [taken, next] = await afterHealing(
      () => (redis as Redis & Scripts).takeToFront(...keys, jobKey(''), from, to, selection.atATime),
      () => deleteWrongQueueKeys(redis, reportMalformed),
    );
    if (taken === selection.atATime) return takeToFront(selection);
    if (next !== null) nextDue = Math.min(nextDue, Number(next) / 0x1000 - placeKeptMs);
  }

  async function takeWanted(): Promise<void> {
    while (wanted !== undefined) {
      const selection = wanted;
      wanted = undefined;
      await takeToFront(selection);
    }
  }

  function want(selection: Selection): void {
    if (redis.status !== 'ready') return;
    if (wanted !== all) wanted = selection;
    running ??= takeWanted()
      .catch((err: unknown) => log.debug({ err }, 'requests could not be taken to the front of the queue'))
      .finally(() => {
        running = undefined;
      });
  }

  const timer = setInterval(() => {
    ticks++;
    if (now() < nextDue && ticks % othersEvery !== 0) return;
    nextDue = Number.POSITIVE_INFINITY;
    want(due);
  }, everyMs);

  /** @returns for how long BullMQ delays it */
  function keepPlace(delayMs: number): number {
    nextDue = Math.min(nextDue, now() + Math.max(delayMs, everyMs));
    return delayMs + placeKeptMs;
  }

  /** Whether this failure is one too many of the request's own. */
  function isOwnFailure(id: string, attempt: object): boolean {
    if (answered === (answeredBefore.get(attempt) ?? answered)) {
      isOutage = true;
      return false;
    }
    if (failures.size >= remembered) failures.clear();
    const count = (failures.get(id) ?? 0) + 1;
    failures.set(id, count);
    return count > ownFailures;
  }

  return {
    /** @param attempt the same object for `afterFailure` */
    began: (attempt: object) => void answeredBefore.set(attempt, answered),
    answered(id: string): void {
      answered++;
      failures.delete(id);
      // at most so often, that requests that cannot be answered do not come to the front with each answer to another
      if (!isOutage || Math.abs(now() - outageEnded) < longestBackoffMs) return;
      [isOutage, outageEnded] = [false, now()];
      want(all);
    },
    /** After a failure, with full jitter. @returns for how long BullMQ delays it, in milliseconds */
    afterFailure(id: string, attempt: object, attempts: number): number {
      const delayMs = Math.round(random() * Math.min(maxBackoffMs, 500 * 2 ** Math.min(attempts, 10)));
      if (!isOwnFailure(id, attempt)) return keepPlace(delayMs);
      placeLost(id);
      return delayMs;
    },
    keepPlace,
    async close(): Promise<void> {
      clearInterval(timer);
      if (redis.status === 'ready') await running;
    },
  };
}

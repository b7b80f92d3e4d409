import { z } from 'zod';
import type { Log } from '../runtime/log.ts';
import { siteNamePattern } from '../runtime/site-name.ts';
import { createMalformedReport } from './malformed.ts';
import { disconnectRedis, type RedisConnector, untilFirstTried } from './redis.ts';
import type { RunningPart, RunningParts, SeenPart } from './running-parts.ts';
import { runningPartsKey } from './stored-keys.ts';
import { withoutWrongType } from './wrong-type.ts';

/** A process that has said nothing for so long runs no more. Milliseconds. */
const lifetimeMs = 30_000;

/** Bounds: processes that are kept, and characters of what each says. A writer of Redis may put in anything. */
const [mostParts, mostCharacters] = [200, 4000];

/** Bounds of what a process says of its troubles. */
const [mostTroubles, mostTroubleCharacters] = [5, 500];

/** KEYS: hash. ARGV: id, text, lifetime in ms, most processes. A field is `<ms of Redis' clock> <text>`. */
const sayScript = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function leaveStale(key, lifetime)
  for _, id in ipairs(redis.call('HKEYS', key)) do
    local at = tonumber(string.match(redis.call('HGET', key, id) or '', '^(%d+) ') or '')
    if not at or at < now - lifetime or at > now + lifetime then redis.call('HDEL', key, id) end
  end
end
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then leaveStale(KEYS[1], tonumber(ARGV[3])) end
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 1 or redis.call('HLEN', KEYS[1]) < tonumber(ARGV[4]) then
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now) .. ' ' .. ARGV[2])
end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
`;

/** KEYS: hash. ARGV: most processes, most characters. */
const listScript = `
local time = redis.call('TIME')
local found = { string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)) }
for i, text in ipairs(redis.call('HVALS', KEYS[1])) do
  if i > tonumber(ARGV[1]) then break end
  found[#found + 1] = string.sub(text, 1, tonumber(ARGV[2]))
end
return found
`;

type Scripts = {
  sayRunning(key: string, ...args: (string | number)[]): Promise<number>;
  listRunning(key: string, ...args: number[]): Promise<string[]>;
};

/** Anybody who writes to Redis can say something here, and people read it: it is one line, in the order in which it is written. */
const unprintable = /[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Zl}\p{Zp}]+/gu;
const bounded = (most: number) => z.string().max(most);
const shown = (most: number) => bounded(most).transform((text) => text.replace(unprintable, ' '));
/** No sentence: a name of a machine, a version. */
const word = (most: number) => bounded(most).regex(/^[\p{L}\p{N}._:+-]+$/u);
const count = z.number().nonnegative();
const stored = z.object({
  id: word(64),
  part: z.enum(['broker', 'worker', 'console']),
  version: word(100),
  host: word(255),
  pid: count,
  site: bounded(64).regex(siteNamePattern).optional(),
  since: count,
  troubles: z.array(shown(mostTroubleCharacters)).max(mostTroubles),
  certificates: z.array(z.object({ name: z.enum(['server', 'site CA']), notAfter: count })).max(10),
  disk: z.object({ path: shown(1000), freeBytes: count, totalBytes: count }).optional(),
  calls: z.record(word(64), count),
}) satisfies z.ZodType<RunningPart>;

export function createRunningParts(connector: RedisConnector, log: Log): RunningParts {
  const redis = connector.connect('answer-now', log);
  redis.defineCommand('sayRunning', { numberOfKeys: 1, lua: sayScript });
  redis.defineCommand('listRunning', { numberOfKeys: 1, lua: listScript });
  const scripts = redis as typeof redis & Scripts;
  const reportMalformed = createMalformedReport(log);
  const owning = <T>(work: () => Promise<T>) => withoutWrongType(redis, [runningPartsKey], reportMalformed, work);

  function seenIn(text: string, now: number): SeenPart | undefined {
    const [, at = '', json = ''] = /^(\d{1,16}) (.*)$/s.exec(text) ?? [];
    const part = parsed(json);
    if (part === undefined) reportMalformed('what a process says of itself');
    return part === undefined || Math.abs(now - Number(at)) > lifetimeMs ? undefined : { ...part, seenAt: Number(at) };
  }

  return {
    async say(part) {
      await untilFirstTried(redis);
      await owning(() =>
        scripts.sayRunning(runningPartsKey, part.id, JSON.stringify(shortened(part)), lifetimeMs, mostParts),
      );
    },
    async leave(id) {
      await redis.hdel(runningPartsKey, id);
    },
    async list() {
      await untilFirstTried(redis);
      const [now = '0', ...texts] = await owning(() => scripts.listRunning(runningPartsKey, mostParts, mostCharacters));
      const seen = texts.map((text) => seenIn(text, Number(now)));
      return seen.filter((part) => part !== undefined).sort((a, b) => a.since - b.since);
    },
    close: () => disconnectRedis(redis),
  };
}

function parsed(json: string): RunningPart | undefined {
  try {
    return stored.safeParse(JSON.parse(json)).data;
  } catch {
    return undefined;
  }
}

/** A text that is too long would be cut off in the middle, and be no JSON. */
function shortened({ troubles, ...part }: RunningPart): RunningPart {
  const some = troubles.slice(0, mostTroubles).map((text) => text.slice(0, mostTroubleCharacters));
  return { ...part, troubles: some };
}

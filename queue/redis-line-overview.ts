import type { Redis } from 'ioredis';
import type { Log } from '../runtime/log.ts';
import type { LineOverview, WaitingRequest } from './line-overview.ts';
import { createMalformedReport } from './malformed.ts';
import { disconnectRedis, type RedisConnector } from './redis.ts';
import { readSerial } from './stored-forms.ts';
import { jobKey, lineKeys } from './stored-keys.ts';
import { withoutWrongType } from './wrong-type.ts';

/**
 * The right end of the list is the front: workers take from there. The line, which tells devices their places, follows. KEYS: wait, line.
 * ARGV: prefix of jobs, id.
 */
const toFrontScript = `
local data = redis.pcall('HGET', ARGV[1] .. ARGV[2], 'data')
if type(data) ~= 'string' then return { 'unknown', '' } end
if redis.call('LREM', KEYS[1], 1, ARGV[2]) == 0 then return { 'is-tried', '' } end
redis.call('RPUSH', KEYS[1], ARGV[2])
local first = redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')
if first[1] and first[1] ~= ARGV[2] then
  redis.call('ZADD', KEYS[2], string.format('%.0f', tonumber(first[2]) - 1), ARGV[2])
end
return { 'moved', data }
`;

/** As a broker writes them: a writer of Redis may have put in anything. */
const [idForm, timeForm] = [/^[A-Za-z0-9_-]{1,64}$/, /^\d{1,14}$/];

type Scripts = { takeRequestToFront(...args: string[]): Promise<[outcome: string, data: string]> };

export function createLineOverview(connector: RedisConnector, log: Log): LineOverview {
  const connected = connector.connect('answer-now', log);
  connected.defineCommand('takeRequestToFront', { numberOfKeys: 2, lua: toFrontScript });
  const redis = connected as Redis & Scripts;
  const reportMalformed = createMalformedReport(log);
  return {
    async first(count) {
      const ids = await withoutWrongType(redis, [lineKeys.entries], reportMalformed, () =>
        redis.zrange(lineKeys.entries, '0', String(count - 1)),
      );
      const pipeline = redis.pipeline();
      for (const id of ids) pipeline.hmget(jobKey(id), 'data', 'timestamp');
      const found = (await pipeline.exec()) ?? [];
      return ids.flatMap((requestId, index): WaitingRequest[] => {
        // answered since, or a key of another type: it is no request that waits
        const [data, timestamp] = (found[index]?.[1] ?? []) as (string | null)[];
        const serial = serialOf(data);
        if (serial === undefined || !idForm.test(requestId) || !timeForm.test(timestamp ?? '')) return [];
        return [{ requestId, serial, position: index + 1, since: Number(timestamp) }];
      });
    },
    async toFront(requestId) {
      const [outcome, data] = await redis.takeRequestToFront(jobKey('wait'), lineKeys.entries, jobKey(''), requestId);
      const serial = serialOf(data);
      if (outcome === 'moved' && serial !== undefined) return { outcome, serial };
      return { outcome: outcome === 'is-tried' ? outcome : 'unknown' };
    },
    close: () => disconnectRedis(redis),
  };
}

function serialOf(data: string | null | undefined): string | undefined {
  try {
    return data ? readSerial(JSON.parse(data)) : undefined;
  } catch {
    return undefined;
  }
}

import type { Redis } from 'ioredis';
import { z } from 'zod';
import { type ErrorCode, type ProblemName, problemNames, statusCodes } from '../protocol/problems.ts';
import { isSerial } from '../protocol/serial.ts';
import { within } from '../runtime/deadline.ts';
import type { Log } from '../runtime/log.ts';
import {
  callFaults,
  closeFaults,
  type Sighting,
  type SightingKind,
  sightingKinds,
  tlsFaults,
} from '../telemetry/sightings.ts';
import { createMalformedReport } from './malformed.ts';
import { disconnectRedis, type RedisConnector, untilFirstTried } from './redis.ts';
import { type SightingLimits, type SightingReader, type SightingWriter, usualSightingLimits } from './sightings.ts';
import { sightingKeys } from './stored-keys.ts';
import { withoutWrongType } from './wrong-type.ts';

/** How often the writer writes, and for how long it waits for Redis. Milliseconds. */
const [everyMs, writeMs] = [1000, 5000];

/** Sightings in one command, and the longest stored field, in bytes. */
const [atATime, maxField] = [300, 400];

/** Serials whose sightings wait in this process, by kind: Redis may be away for long. */
const maxWaiting: Readonly<Record<SightingKind, number>> = { own: 4000, unproven: 500, unknown: 500 };

/** In the place of the serial, where a handshake named none. No serial is empty. */
const nameless = '';

/** Failed handshakes without a serial that are kept. */
const maxNameless = 100;

/**
 * The time is that of Redis, so that it is one for all brokers and workers.
 * KEYS: index of each kind, requests, their order. ARGV: ms kept, most of each serial by kind, most serials by kind, most without a serial, most requests,
 * then kind, serial, ms ago, times, field, latest, request (or '') of each.
 */
const noteScript = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local kept = tonumber(ARGV[1])
local lastKey
for i = 10, #ARGV, 7 do
  local kind, serial, field, request = tonumber(ARGV[i]), ARGV[i + 1], ARGV[i + 4], ARGV[i + 6]
  local key = KEYS[kind] .. ':' .. serial
  local most = serial == '' and tonumber(ARGV[8]) or tonumber(ARGV[1 + kind])
  local at = now - tonumber(ARGV[i + 2])
  local before = redis.pcall('HGET', key, field)
  if type(before) == 'table' then
    redis.call('UNLINK', key)
    before = false
  end
  local first, last, count = string.match(before or '', '^(%d+) (%d+) (%d+) ')
  if not first or #first > 15 or #last > 15 or #count > 9 then first, last, count = at, 0, 0 end
  -- what is noted late may be older than what is there; another writer may have put in a time to come
  if tonumber(last) > now then last = 0 end
  local value = string.format('%.0f %.0f %.0f %s', math.min(first, at), math.max(last, at), count + ARGV[i + 3], ARGV[i + 5])
  if redis.call('HSET', key, field, value) == 1 then
    local length = redis.call('HLEN', key)
    -- no part of ours lets it grow so far, and reading it would hold Redis up
    if length > most + 1 then
      redis.call('UNLINK', key)
      redis.call('HSET', key, field, value)
    elseif length > most then
      local all, oldest, lowest = redis.call('HGETALL', key), nil, nil
      for j = 1, #all, 2 do
        local last = tonumber(string.match(all[j + 1], '^%d+ (%d+) ') or '0')
        if all[j] ~= field and (not lowest or last < lowest) then oldest, lowest = all[j], last end
      end
      if oldest then redis.call('HDEL', key, oldest) end
    end
  end
  if key ~= lastKey then
    redis.call('PEXPIRE', key, kept)
    if serial ~= '' then redis.call('ZADD', KEYS[kind], now, serial) end
    lastKey = key
  end
  if request ~= '' and redis.call('HSET', KEYS[4], request, serial) == 1 then redis.call('RPUSH', KEYS[5], request) end
end
for kind = 1, 3 do
  local over = redis.call('ZCARD', KEYS[kind]) - tonumber(ARGV[4 + kind])
  if over > 0 then
    local gone = redis.call('ZPOPMIN', KEYS[kind], math.min(over, 1000))
    for j = 1, #gone, 2 do redis.call('UNLINK', KEYS[kind] .. ':' .. gone[j]) end
  end
  redis.call('ZREMRANGEBYSCORE', KEYS[kind], '-inf', now - kept)
end
for _ = 1, math.min(redis.call('LLEN', KEYS[5]) - tonumber(ARGV[9]), 1000) do
  redis.call('HDEL', KEYS[4], redis.call('LPOP', KEYS[5]))
end
`;

type Scripts = { noteSightings(...args: (string | number)[]): Promise<unknown> };

function withScript(redis: Redis): Redis & Scripts {
  redis.defineCommand('noteSightings', { numberOfKeys: 5, lua: noteScript });
  return redis as Redis & Scripts;
}

const indexKeys = sightingKinds.map((kind) => sightingKeys[kind]);
const writtenKeys = [...indexKeys, sightingKeys.requests, sightingKeys.requestOrder];

type Waiting = { readonly requestId: string; at: number; count: number; latest: string };

/** @param monotonic milliseconds */
export function createSightingWriter(
  connector: RedisConnector,
  log: Log,
  limits: SightingLimits = usualSightingLimits,
  monotonic: () => number = () => performance.now(),
): SightingWriter {
  const redis = withScript(connector.connect('answer-now', log));
  const reportMalformed = createMalformedReport(log);
  const waiting: Record<SightingKind, Map<string, Map<string, Waiting>>> = {
    own: new Map(),
    unproven: new Map(),
    unknown: new Map(),
  };
  const bounds = [
    limits.keptMs,
    ...sightingKinds.map((kind) => limits.perSerial[kind]),
    ...sightingKinds.map((kind) => limits.serials[kind]),
    maxNameless,
    limits.requests,
  ];
  let running: Promise<void> | undefined;

  function* batches(): Generator<(string | number)[]> {
    let batch: (string | number)[] = [];
    const now = monotonic();
    for (const [index, kind] of sightingKinds.entries()) {
      for (const [serial, seen] of waiting[kind])
        for (const [field, { requestId, at, count, latest }] of seen) {
          batch.push(index + 1, serial, Math.max(0, Math.round(now - at)), count, field, latest, requestId);
          if (batch.length < 7 * atATime) continue;
          yield batch;
          batch = [];
        }
    }
    if (batch.length > 0) yield batch;
  }

  async function write(): Promise<void> {
    await untilFirstTried(redis);
    const all = [...batches()];
    for (const kind of sightingKinds) waiting[kind].clear();
    for (const batch of all) {
      const writing = withoutWrongType(redis, writtenKeys, reportMalformed, () =>
        redis.noteSightings(...writtenKeys, ...bounds, ...batch),
      );
      // a Redis that is full, or away: they are put back, as far as there is room
      await within(writeMs, 'noting what was seen', writing).catch((err: unknown) => {
        log.debug({ err }, 'what was seen of devices could not be written');
        putBack(batch);
      });
    }
  }

  function putBack(batch: readonly (string | number)[]): void {
    const now = monotonic();
    for (let i = 0; i < batch.length; i += 7) {
      const [kind, serial, age, count, field, latest, requestId] = batch.slice(i, i + 7);
      const into = sightingKinds[Number(kind) - 1];
      if (into !== undefined)
        keep(into, String(serial), String(field), {
          ...{ at: now - Number(age), count: Number(count), latest: String(latest), requestId: String(requestId) },
        });
    }
  }

  function keep(kind: SightingKind, serial: string, field: string, seen: Waiting): void {
    const ofKind = waiting[kind];
    const ofSerial = ofKind.get(serial) ?? new Map<string, Waiting>();
    const before = ofSerial.get(field);
    if (before !== undefined) {
      before.count += seen.count;
      if (seen.at < before.at) return;
      before.at = seen.at;
      before.latest = seen.latest;
      return;
    }
    const most = serial === nameless ? maxNameless : limits.perSerial[kind];
    if (ofSerial.size >= most || (ofSerial.size === 0 && ofKind.size >= maxWaiting[kind])) return;
    ofKind.set(serial, ofSerial.set(field, seen));
  }

  function flush(): Promise<void> {
    running ??= write()
      .catch((err: unknown) => log.debug({ err }, 'what was seen of devices could not be written'))
      .finally(() => {
        running = undefined;
      });
    return running;
  }

  const timer = setInterval(() => {
    if (sightingKinds.some((kind) => waiting[kind].size > 0)) void flush();
  }, everyMs);
  timer.unref();

  return {
    note(kind, serial = nameless, name, fields, latest = '', agoMs = 0) {
      if (serial !== nameless && !isSerial(serial)) return;
      const field = JSON.stringify({ name, ...fields });
      if (field.length > maxField || latest.length > maxField) return;
      const { requestId = '' } = fields as { readonly requestId?: string };
      const known = kind === 'own' && name === 'stored' ? requestId : '';
      keep(kind, serial, field, { requestId: known, at: monotonic() - agoMs, count: 1, latest });
    },
    async flush() {
      await running;
      await flush();
    },
    async close() {
      clearInterval(timer);
      await running;
      if (redis.status === 'ready') await flush();
      await disconnectRedis(redis);
    },
  };
}

/** A hash of more fields, and a field or value of more bytes, was written by no part of ours, and is not read: one answer must stay small. */
const [maxRead, maxReadBytes] = [200, 1000];

/** KEYS: hash. ARGV: most fields, most bytes of each and of its value. @returns fields and values in turn; an empty field for one that is left out */
const readScript = `
if redis.call('HLEN', KEYS[1]) > tonumber(ARGV[1]) then return { '', '' } end
local most, found = tonumber(ARGV[2]), {}
for _, field in ipairs(redis.call('HKEYS', KEYS[1])) do
  local fits = #field <= most and redis.call('HSTRLEN', KEYS[1], field) <= most
  found[#found + 1] = fits and field or ''
  found[#found + 1] = fits and redis.call('HGET', KEYS[1], field) or ''
end
return found
`;

type ReadScripts = { readSightings(key: string, ...args: number[]): Promise<string[]> };

export function createSightingReader(connector: RedisConnector, log: Log): SightingReader {
  const connection = connector.connect('answer-now', log);
  connection.defineCommand('readSightings', { numberOfKeys: 1, lua: readScript });
  const redis = connection as Redis & ReadScripts;
  const reportMalformed = createMalformedReport(log);

  async function readHash(kind: SightingKind, serial: string): Promise<Sighting[]> {
    const key = `${sightingKeys[kind]}:${serial}`;
    return withoutWrongType(redis, [key], reportMalformed, async () => {
      const found = await redis.readSightings(key, maxRead, maxReadBytes);
      const read = found.flatMap((field, index) =>
        index % 2 === 0 ? [readSighting(kind, field, found[index + 1] ?? '')] : [],
      );
      if (read.includes(undefined)) reportMalformed('a sighting of a device');
      return read.filter((each) => each !== undefined);
    });
  }

  return {
    async read(serial) {
      await untilFirstTried(redis);
      return (await Promise.all(sightingKinds.map((kind) => readHash(kind, serial)))).flat();
    },
    async readNameless() {
      await untilFirstTried(redis);
      return readHash('unknown', nameless);
    },
    async serialOf(requestId) {
      await untilFirstTried(redis);
      const { requests } = sightingKeys;
      const found = await withoutWrongType(redis, [requests], reportMalformed, () => redis.hget(requests, requestId));
      return found !== null && isSerial(found) ? found : undefined;
    },
    close: () => disconnectRedis(redis),
  };
}

const from = z.string().regex(/^[0-9A-Fa-f:.%a-z]{1,64}$/);
const requestId = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/);
const errorCode = z.enum(Object.keys(statusCodes) as [ErrorCode, ...ErrorCode[]]);
const problem = z.enum(problemNames as [ProblemName, ...ProblemName[]]).optional();
const call = {
  operation: z
    .string()
    .regex(/^(iot|dynamodb):[A-Za-z]{1,40}$/)
    .optional(),
  error: z
    .string()
    .regex(/^[A-Za-z0-9_.]{1,60}$/)
    .optional(),
};

/** The form of each sighting, as it stands in Redis. */
const forms = z.discriminatedUnion('name', [
  z.object({ name: z.literal('handshake-failed'), from, why: z.enum(tlsFaults) }),
  z.object({ name: z.literal('connected'), from, by: z.enum(['pre-shared key', 'user name', 'message']) }),
  z.object({ name: z.literal('closed'), from, why: z.enum(closeFaults) }),
  z.object({ name: z.literal('refused'), from, errorCode, problem, keyUnused: z.literal(true).optional() }),
  z.object({ name: z.literal('stored'), from, requestId }),
  z.object({ name: z.literal('waiting'), from, requestId }),
  z.object({ name: z.literal('postponed'), requestId, ...call, outcome: z.enum(callFaults) }),
  z.object({
    name: z.literal('decided'),
    requestId,
    ...call,
    errorCode: errorCode.optional(),
    problem,
    outcome: z.enum(['vended', 'repeated', 'refused']),
  }),
  z.object({
    name: z.literal('answered'),
    from,
    requestId,
    errorCode: errorCode.optional(),
    problem,
    outcome: z.enum(['accepted', 'rejected', 'registered']),
  }),
  z.object({ name: z.literal('too-large'), from, maxPacket: z.number().int().positive() }),
  z.object({ name: z.literal('left'), from, requestId }),
  z.object({
    name: z.literal('acknowledged'),
    certificateId: z.string().regex(/^[0-9a-f]{64}$/),
    spent: z.boolean(),
  }),
]);

/** Numbers, and the names of calls: no words. */
const latestForm = /^[a-zA-Z0-9 ,.-]{0,400}$/;

/** @returns undefined for what no part of ours writes */
export function readSighting(kind: SightingKind, field: string, value: string): Sighting | undefined {
  const [, firstAt, at, count, latest = ''] = /^(\d{1,15}) (\d{1,15}) (\d{1,10}) (.*)$/s.exec(value) ?? [];
  if (count === undefined || field.length > maxField || !latestForm.test(latest)) return undefined;
  let fields: unknown;
  try {
    fields = JSON.parse(field);
  } catch {
    return undefined;
  }
  const form = forms.safeParse(fields).data;
  if (form === undefined) return undefined;
  const times = { kind, firstAt: Number(firstAt), at: Number(at), count: Number(count) };
  return { ...form, ...times, ...(latest === '' ? {} : { latest }) } as Sighting;
}

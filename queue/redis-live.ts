import type { Redis } from 'ioredis';
import { z } from 'zod';
import { statusCodes } from '../protocol/problems.ts';
import { isSerial } from '../protocol/serial.ts';
import type { Log } from '../runtime/log.ts';
import { isLiveEvent, type LiveEvent, type LiveFeed, type LiveMinute, type LivePublisher } from './live.ts';
import { createMalformedReport, type ReportMalformed } from './malformed.ts';
import { answersOf, disconnectRedis, type RedisConnector, untilFirstTried } from './redis.ts';
import { readChangedSerials } from './stored-forms.ts';
import { liveChannel, liveMinuteKey, rosterKeys } from './stored-keys.ts';
import { isWrongType } from './wrong-type.ts';

/** Events in one message; the rest is a number. */
const mostEvents = 200;

/** Devices that got their certificate while Redis was away, and are noted when it is back; more of them are found by the next comparison. */
const mostVended = 10_000;

/** How often a process says what happened in it, and how long a minute is kept. */
const [everyMs, keptSeconds, minuteMs] = [1000, 2 * 3600, 60_000];

/** A minute of more fields, or with a larger number, was written by no part of ours. */
const [mostFields, mostInMinute] = [100, 1e9];

/** The last instant that JavaScript has, epoch milliseconds (ECMA-262, 21.4.1.1). */
const lastInstant = 8.64e15;

const isErrorCode = (code: string) => Object.hasOwn(statusCodes, code);

type Counts = Map<string, number>;

/** @param onVended told once a second which devices have got their certificate */
export function createLivePublisher(
  connector: RedisConnector,
  log: Log,
  {
    now = Date.now,
    onVended = async () => {},
  }: { now?: () => number; onVended?(serials: readonly string[]): Promise<void> } = {},
): LivePublisher {
  const redis = connector.connect('answer-now', log);
  let counts: Counts = new Map();
  let events: LiveEvent[] = [];
  let vended: string[] = [];
  let more = 0;

  const count = (field: string, number = 1) => void counts.set(field, (counts.get(field) ?? 0) + number);
  const countCodes = (byCode: Readonly<Record<string, number>>) => {
    for (const [code, number] of Object.entries(byCode)) {
      count('refused', number);
      count(`code:${code}`, number);
    }
  };

  function tell(event: string, fields: object): void {
    const { serial, errorCode, byCode, answers } = fields as Fields;
    if (event === 'vended' || event === 'repeated') count(event);
    if (event === 'vended' && serial !== undefined && vended.length < mostVended) vended.push(serial);
    if (event === 'refused' && errorCode !== undefined) countCodes({ [errorCode]: 1 });
    if (event === 'refused-flood' && byCode !== undefined) countCodes(byCode);
    if (event === 'repeated-flood' && answers !== undefined) count('repeated', answers);
    if (serial === undefined) return;
    if (events.length >= mostEvents) more++;
    else events.push({ serial, event, at: now(), ...(errorCode === undefined ? {} : { errorCode }) });
  }

  async function flush(): Promise<void> {
    if (counts.size === 0 && events.length === 0 && more === 0) return;
    const said = { events, more };
    [events, more] = [[], 0];
    // of late events only the number is told: a page that hears it reads anew what it shows
    const tellLater = () => {
      more += said.events.length + said.more;
    };
    if (redis.status !== 'ready') return tellLater();
    const [taken, devices] = [counts, vended];
    [counts, vended] = [new Map(), []];
    const key = liveMinuteKey(Math.floor(now() / minuteMs));
    const pipeline = redis.pipeline();
    for (const [field, number] of taken) pipeline.hincrby(key, field, number);
    if (taken.size > 0) pipeline.expire(key, keptSeconds);
    if (said.events.length > 0 || said.more > 0) pipeline.publish(liveChannel, JSON.stringify(said));
    const answers = await pipeline.exec().catch(() => null);
    if (answers?.at(-1)?.[0] !== null) tellLater();
    if (devices.length > 0) await onVended(devices);
  }

  const timer = setInterval(() => {
    flush().catch((err: unknown) => log.debug({ err }, 'those who watch could not be told'));
  }, everyMs);
  return {
    tell,
    async close() {
      clearInterval(timer);
      await untilFirstTried(redis);
      await flush().catch(() => {});
      await disconnectRedis(redis);
    },
  };
}

type Fields = {
  readonly serial?: string;
  readonly errorCode?: string;
  readonly byCode?: Readonly<Record<string, number>>;
  readonly answers?: number;
};

const storedEvent = z.object({
  serial: z.string().refine(isSerial),
  event: z.string().refine(isLiveEvent),
  at: z.number().min(0).max(lastInstant),
  errorCode: z.string().refine(isErrorCode).optional(),
});
const storedEvents = z.object({ events: z.array(storedEvent).max(mostEvents), more: z.int().min(0) });

/** The console's side of the live events, in Redis. */
export function createLiveFeed(connector: RedisConnector, log: Log, now: () => number = Date.now): LiveFeed {
  const subscriber = connector.connect('wait', log);
  const redis = connector.connect('answer-now', log);
  const reportMalformed = createMalformedReport(log);
  return {
    async listen(onEvents, onMissed) {
      subscriber.on('message', (channel, text) => {
        if (channel === liveChannel) {
          const said = readEvents(text);
          if (said === undefined) reportMalformed('an event for those who watch');
          else onEvents(said.events, said.more);
          return;
        }
        const serials = readChangedSerials(text) ?? [];
        const shown = serials.slice(0, mostEvents).map((serial) => ({ serial, event: 'changed', at: now() }));
        onEvents(shown, serials.length - shown.length);
      });
      await subscriber.subscribe(liveChannel, rosterKeys.channel);
      // ioredis subscribes again by itself. Redis keeps no message for a subscriber that was away
      subscriber.on('ready', onMissed);
    },
    async minutes(count, time) {
      const last = Math.floor(time / minuteMs);
      const numbers = Array.from({ length: count }, (_, index) => last - count + 1 + index);
      const keys = numbers.map(liveMinuteKey);
      const found = await readMinutes(redis, keys, reportMalformed);
      return numbers.map((number, index) => minuteOf(number * minuteMs, found[index] ?? {}));
    },
    async close() {
      await Promise.all([disconnectRedis(subscriber), disconnectRedis(redis)]);
    },
  };
}

function readEvents(text: string): { readonly events: readonly LiveEvent[]; readonly more: number } | undefined {
  try {
    return storedEvents.parse(JSON.parse(text)) as { events: LiveEvent[]; more: number };
  } catch {
    return undefined;
  }
}

/** A key that is too large to be ours, or of another type, is not read. It needs no deletion: its minute is soon past, and past minutes are not read. */
async function readMinutes(
  redis: Redis,
  keys: readonly string[],
  reportMalformed: ReportMalformed,
): Promise<Record<string, string>[]> {
  const lengths = redis.pipeline();
  for (const key of keys) lengths.hlen(key);
  const isOurs = ((await lengths.exec()) ?? []).map(([error, length]) => {
    if (error && !isWrongType(error)) throw error;
    return !error && Number(length) <= mostFields;
  });
  if (isOurs.includes(false)) reportMalformed('what happened in a minute');
  const reading = redis.pipeline();
  for (const [index, key] of keys.entries()) if (isOurs[index]) reading.hgetall(key);
  const read = (await answersOf(reading.exec())) as Record<string, string>[];
  return keys.map((_key, index) => (isOurs[index] ? (read.shift() ?? {}) : {}));
}

function minuteOf(at: number, fields: Readonly<Record<string, string>>): LiveMinute {
  const number = (name: string) => Math.min(mostInMinute, Math.max(0, Math.floor(Number(fields[name])) || 0));
  const codes = Object.keys(fields).filter((name) => name.startsWith('code:') && isErrorCode(name.slice(5)));
  const refusals = Object.fromEntries(codes.map((name) => [name.slice('code:'.length), number(name)]));
  return { at, vended: number('vended'), refused: number('refused'), repeated: number('repeated'), refusals };
}

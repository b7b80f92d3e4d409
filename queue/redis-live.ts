import { z } from 'zod';
import { isSerial } from '../protocol/serial.ts';
import type { Log } from '../runtime/log.ts';
import type { LiveEvent, LiveFeed, LiveMinute, LivePublisher } from './live.ts';
import { createMalformedReport } from './malformed.ts';
import { disconnectRedis, type RedisConnector, untilFirstTried } from './redis.ts';
import { liveChannel, liveMinuteKey, readChangedSerials, rosterKeys } from './stored-forms.ts';

/** Events in one message; the rest is a number. */
const mostEvents = 200;

/** Devices that got their certificate while Redis was away, and are noted when it is back; more of them are found by the next comparison. */
const mostVended = 10_000;

/** How often a process says what happened in it, and how long a minute is kept. */
const [everyMs, keptSeconds, minuteMs] = [1000, 2 * 3600, 60_000];

/** Error codes are few; a flood of made-up ones, from a writer of Redis, is not shown. */
const mostFields = 64;

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
    if (counts.size === 0 && events.length === 0) return;
    const said = { events, more };
    [events, more] = [[], 0];
    // what is counted waits for Redis to come back; what happened a while ago is no news then
    if (redis.status !== 'ready') return;
    const [taken, devices] = [counts, vended];
    [counts, vended] = [new Map(), []];
    const key = liveMinuteKey(Math.floor(now() / minuteMs));
    const pipeline = redis.pipeline();
    for (const [field, number] of taken) pipeline.hincrby(key, field, number);
    if (taken.size > 0) pipeline.expire(key, keptSeconds);
    if (said.events.length > 0) pipeline.publish(liveChannel, JSON.stringify(said));
    await pipeline.exec();
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
  event: z.string().regex(/^[a-z-]{1,40}$/),
  at: z.number(),
  errorCode: z
    .string()
    .regex(/^[A-Za-z]{1,40}$/)
    .optional(),
});
const storedEvents = z.object({ events: z.array(storedEvent).max(mostEvents), more: z.int().min(0) });

/** The side of those who watch, in Redis. */
export function createLiveFeed(connector: RedisConnector, log: Log, now: () => number = Date.now): LiveFeed {
  const subscriber = connector.connect('wait', log);
  const redis = connector.connect('answer-now', log);
  const reportMalformed = createMalformedReport(log);
  return {
    async listen(onEvents) {
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
    },
    async minutes(count, time) {
      const last = Math.floor(time / minuteMs);
      const numbers = Array.from({ length: count }, (_, index) => last - count + 1 + index);
      const pipeline = redis.pipeline();
      for (const number of numbers) pipeline.hgetall(liveMinuteKey(number));
      const found = (await pipeline.exec()) ?? [];
      return numbers.map((number, index) => {
        const [error, fields] = found[index] ?? [null, {}];
        if (error) throw error;
        return minuteOf(number * minuteMs, fields as Record<string, string>);
      });
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

function minuteOf(at: number, fields: Readonly<Record<string, string>>): LiveMinute {
  const number = (name: string) => Math.max(0, Math.floor(Number(fields[name])) || 0);
  const codes = Object.keys(fields).filter((name) => /^code:[A-Za-z]{1,40}$/.test(name));
  const refusals = Object.fromEntries(
    codes.slice(0, mostFields).map((name) => [name.slice('code:'.length), number(name)]),
  );
  return { at, vended: number('vended'), refused: number('refused'), repeated: number('repeated'), refusals };
}

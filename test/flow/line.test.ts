import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { positionOf } from '../../broker/line-estimate.ts';
import type { Line, LineKeeper } from '../../queue/line.ts';
import { disconnectRedis, redisAt, untilFirstTried } from '../../queue/redis.ts';
import { createLine, createLineKeeper, createMissedAnswers } from '../../queue/redis-line.ts';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../runtime/embedded-redis.ts';
import { createLog } from '../../runtime/log.ts';
import { bytesSentFor } from '../support/bytes-sent.ts';
import { lacks } from '../support/lacks.ts';

const log = createLog('silent');
/** More than the second of `vi.waitFor`. */
const patience = { timeout: 45_000 };
const job = (id: string) => `{cvm}:asks:${id}`;
const [entries, seconds, wait] = ['{cvm}:line', '{cvm}:line:seconds', job('wait')];
const entry = (requestId: string, waitedMs = 0, recipientId = `to-${requestId}`) => ({
  requestId,
  recipientId,
  waitedMs,
});

describe.skipIf(lacks('redis-server'))('the line in Redis', () => {
  let folder: string;
  let server: EmbeddedRedis;
  let redis: Redis;
  let broker: Line;
  let other: Line;
  let worker: LineKeeper;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-line-'));
    server = await startEmbeddedRedis({ dataDir: folder, log });
    redis = redisAt(server.url).connect('wait', log);
    await untilFirstTried(redis);
    broker = createLine(redisAt(server.url), log);
    other = createLine(redisAt(server.url), log);
    worker = createLineKeeper(redisAt(server.url), log, () => 0.5);
    // a command of `answer-now` fails before its connection is there
    await vi.waitFor(() => Promise.all([broker.look([]), other.look([]), worker.report([], [])]), patience);
  });
  beforeEach(() => redis.flushall());
  afterAll(async () => {
    await Promise.all([broker?.close(), other?.close(), worker?.close(), disconnectRedis(redis)]);
    await server?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Requests as the queue has them: the first in is at the right end of its list. */
  const queued = async (...ids: string[]) => {
    for (const id of ids) await redis.multi().hset(job(id), 'name', 'ask').lpush(wait, id).exec();
  };
  const positions = async (line: Line, ...ids: string[]) => {
    const { view, places } = await line.look(ids.map((id) => entry(id)));
    return places.map((place) => (place === undefined ? undefined : positionOf(place, view)));
  };
  const answer = async (...ids: string[]) => {
    await redis.del(...ids.map(job));
    return worker.report(
      ids.map((requestId) => ({ requestId, recipientId: `to-${requestId}` })),
      [],
    );
  };

  it('is in the order of arrival, at whichever broker a request arrived', async () => {
    await queued('a', 'b', 'c');
    await broker.look([entry('c', 100), entry('a', 5000)]);
    await other.look([entry('b', 1000)]);
    expect(await positions(broker, 'a', 'b', 'c')).toEqual([1, 2, 3]);
  });

  it('keeps the place of a request that is shown again, by whichever broker', async () => {
    await queued('a', 'b');
    await broker.look([entry('a'), entry('b')]);
    await other.look([entry('b', 3_600_000)]);
    expect(await positions(other, 'a', 'b')).toEqual([1, 2]);
  });

  it('moves up when others were answered, and ends when all were', async () => {
    await queued('a', 'b', 'c');
    await broker.look([entry('a', 3), entry('b', 2), entry('c', 1)]);
    expect(await answer('a')).toMatchObject({ length: 2 });
    expect(await positions(broker, 'a', 'b', 'c')).toEqual([undefined, 1, 2]);
    await answer('b', 'c');
    expect((await broker.look([])).view).toMatchObject({ length: 0, marks: [] });
  });

  it('counts what workers answered in each second, also those that never stood in the line', async () => {
    await queued('a');
    await broker.look([entry('a')]);
    await answer('x', 'y');
    const [before] = await redis.time();
    await answer('z');
    const { view } = await broker.look([]);
    const [after] = await redis.time();
    expect(view.seconds.reduce((sum, { answered }) => sum + answered, 0)).toBe(3);
    expect(view.seconds[0]).toMatchObject({ waiting: 1 });
    // by the clock of Redis, whatever time passes between the two
    const told = [Number(before), view.seconds[0]?.second ?? 0, view.second, Number(after)];
    expect(told).toEqual(told.toSorted((one, other) => one - other));
  });

  it('is not written while no request waits and none is answered', async () => {
    await worker.report([], []);
    expect(await redis.keys('*')).toEqual([]);
  });

  it('takes out a request that the queue has lost, shown or not', async () => {
    await queued(...Array.from({ length: 200 }, (_, index) => `${index}`));
    await broker.look(Array.from({ length: 200 }, (_, index) => entry(`${index}`, 1000 - index)));
    await redis.del(job('0'), job('110'), job('199'));
    expect(await positions(broker, '199')).toEqual([undefined]);
    expect(await worker.report([], [])).toMatchObject({ length: 197 });
  });

  it('puts a request that has lost its place at the end, where the queue puts it', async () => {
    await queued('a', 'b', 'c');
    await broker.look([entry('a', 3), entry('b', 2), entry('c', 1)]);
    await worker.report([], ['a', 'not-in-the-line']);
    expect(await positions(broker, 'b', 'c', 'a')).toEqual([1, 2, 3]);
  });

  it('lets a device that comes back for an answer it missed to the front, once', async () => {
    await queued('a', 'b', 'c');
    await broker.look([entry('a', 3), entry('b', 2), entry('c', 1)]);
    await answer('a');
    await redis.lrem(wait, 1, 'a');
    await queued('again');
    const { view, places } = await other.look([entry('again', 0, 'to-a')]);
    expect(positionOf(places[0] ?? 0, view)).toBe(1);
    expect(await redis.lrange(wait, 0, -1)).toEqual(['c', 'b', 'again']);
    await redis.del(job('again'));
    await worker.report([{ requestId: 'again', recipientId: 'to-a' }], []);
    await redis.lrem(wait, 1, 'again');
    await queued('once-more');
    await other.look([entry('once-more', 0, 'to-a')]);
    expect(await redis.lrange(wait, 0, -1)).toEqual(['once-more', 'c', 'b']);
    expect(await positions(broker, 'b', 'c', 'once-more')).toEqual([1, 2, 3]);
  });

  it('tells a worker once of a device that comes back for an answer it missed, whether it went to the front or not', async () => {
    const missed = createMissedAnswers(redisAt(server.url), log);
    await vi.waitFor(async () => expect(await missed.comesBack('nobody')).toBe(false), patience);
    await queued('a', 'b');
    await broker.look([entry('a', 2), entry('b', 1)]);
    await answer('a', 'b');
    await queued('again');
    await broker.look([entry('again', 0, 'to-b')]);
    for (const id of ['to-a', 'to-b']) {
      expect(await missed.comesBack(id)).toBe(true);
      expect(await missed.comesBack(id)).toBe(false);
    }
    expect(await redis.pttl('{cvm}:line:served:to-a')).toBeGreaterThan(0);
    expect(await redis.exists('{cvm}:line:served:nobody')).toBe(0);
    await missed.close();
  });

  it('knows the position in a line of 100,000 within a 64th, in a view that does not grow', async () => {
    const ids = Array.from({ length: 100_000 }, (_, index) => `${index}`);
    for (let start = 0; start < ids.length; start += 10_000)
      await redis.zadd(entries, ...ids.slice(start, start + 10_000).flatMap((id) => [1e15 + Number(id) ** 2, id]));
    await queued('70000');
    const { view, places } = await broker.look([entry('70000')]);
    expect(view.marks).toHaveLength(65);
    expect(Math.abs(positionOf(places[0] ?? 0, view) - 70_001)).toBeLessThan(100_000 / 64);
  });

  it('goes on when the clock of Redis was set back: a later request comes after the earlier ones', async () => {
    await queued('early', 'late', 'later');
    await redis.zadd(entries, (Date.now() + 3_600_000) * 1000, 'early');
    await broker.look([entry('late')]);
    await broker.look([entry('later')]);
    expect(await positions(broker, 'early', 'late', 'later')).toEqual([1, 2, 3]);
  });

  it('is made again when Redis has lost it, in the same order', async () => {
    await queued('a', 'b');
    await broker.look([entry('b', 1000), entry('a', 2000)]);
    await redis.del(entries, seconds);
    await broker.look([entry('b', 1500), entry('a', 2500)]);
    expect(await positions(broker, 'a', 'b')).toEqual([1, 2]);
  });

  it.each(['inf', '-inf', '1e300', '9007199254740993'])(
    'goes on with a place of %s that a stranger wrote',
    async (place) => {
      await queued('a', 'strange');
      await redis.zadd(entries, place, 'strange');
      const { view, places } = await broker.look([entry('a')]);
      const position = places[0] === undefined ? 1 : positionOf(places[0], view);
      expect(position).toBeGreaterThanOrEqual(1);
      expect(position).toBeLessThanOrEqual(2);
      await worker.report([{ requestId: 'strange', recipientId: 'x' }], ['a']);
      await broker.look([entry('a')]);
      expect(await positions(broker, 'a')).toEqual([1]);
    },
  );

  it.each(['x', '1 2', `${'9'.repeat(400)} 1 1`, '5 -1 7', ''])('goes on with a second of %j', async (text) => {
    await queued('a');
    await redis.lpush(seconds, text);
    await broker.look([entry('a')]);
    await answer('b');
    const { view } = await broker.look([entry('a')]);
    expect(view.seconds).toEqual([{ second: expect.any(Number), answered: 1, waiting: 1 }]);
  });

  it('reads no more of the seconds than workers keep, and no more of each than they write', async () => {
    await redis.lpush(seconds, ...Array.from({ length: 20_000 }, () => '1 1 1'), 'x'.repeat(5_000_000));
    const sent = await bytesSentFor(redis, async () => {
      const { view } = await broker.look([]);
      expect(view.seconds).toHaveLength(29);
    });
    expect(sent).toBeLessThan(100_000);
  });

  it('heals keys of another type', async () => {
    await queued('a');
    await redis.set(entries, 'x');
    await redis.set(seconds, 'x');
    await redis.hset('{cvm}:line:served:to-a', 'x', 'x');
    expect(await positions(broker, 'a')).toEqual([1]);
    await redis.del(entries);
    await redis.set(entries, 'x');
    expect(await worker.report([{ requestId: 'b', recipientId: 'to-a' }], ['a'])).toMatchObject({ length: 0 });
    expect(await positions(broker, 'a')).toEqual([1]);
  });
});

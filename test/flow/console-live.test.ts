import { setTimeout as delay } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { RedisConnector } from '../../queue/redis.ts';
import { createLivePublisher } from '../../queue/redis-live.ts';
import { liveChannel } from '../../queue/stored-keys.ts';
import { createLog } from '../../runtime/log.ts';
import { startTestConsole, type TestConsole } from '../support/console.ts';
import { openEvents } from '../support/console-stream.ts';
import { lacks } from '../support/lacks.ts';

const quick = { gatherMs: 50, nowEveryMs: 100, lineEveryMs: 100, checkMs: 60_000, slowMs: 60_000 };
type Told = { readonly serial?: string; readonly event: string; readonly more?: number };

/** A page that shows what it heard is right as long as it hears of everything, or hears that it missed something. */
describe.skipIf(lacks('redis-server'))('an open page of the console', () => {
  let status: () => Promise<object>;
  const well = async () => ({ at: new Date().toISOString(), ok: true, checks: [] });
  let console: TestConsole;
  /** The console hears what is said at this moment, and not only later. */
  const listens = () => expect.poll(() => console.server.redis.pubsub('NUMSUB', liveChannel)).toEqual([liveChannel, 1]);
  const open = async () => {
    await listens();
    // the other connections of the console to Redis come back each for itself, after a test that cut them
    let cookie = '';
    const signIn = async () => {
      ({ cookie } = await console.browser());
      return cookie;
    };
    await expect.poll(signIn).not.toBe('');
    const stream = openEvents(console, { cookie });
    expect(await stream.opened).toBe(200);
    await expect.poll(() => stream.events.some(({ event }) => event === 'now')).toBe(true);
    const told = () =>
      stream.events.filter(({ event }) => event === 'device').flatMap(({ data }) => data as readonly Told[]);
    return { ...stream, told, resyncs: () => stream.events.filter(({ event }) => event === 'resync').length };
  };

  /** A publisher with its connection: what it is told before would be no news. */
  const publisherOf = async () => {
    const made: Redis[] = [];
    const connect: RedisConnector['connect'] = (use, log) => {
      const redis = console.redis.connect(use, log);
      made.push(redis);
      return redis;
    };
    const publisher = createLivePublisher({ ...console.redis, connect }, createLog('silent'));
    const [redis] = made as [Redis];
    await expect.poll(() => redis.status).toBe('ready');
    return { publisher, redis };
  };

  beforeAll(async () => {
    status = well;
    console = await startTestConsole({ deps: { watcherTimes: quick, status: () => status() as never } });
  });
  afterEach(() => {
    status = well;
  });
  afterAll(() => console.close());

  it('hears how many events it missed while brokers and workers could not reach Redis', async () => {
    const page = await open();
    const { publisher, redis } = await publisherOf();
    publisher.tell('vended', { serial: 'SN-1' });
    await expect.poll(page.told).toMatchObject([{ serial: 'SN-1', event: 'vended' }]);
    await console.server.kill();
    for (const serial of ['SN-2', 'SN-3']) publisher.tell('vended', { serial });
    await delay(1500);
    publisher.tell('vended', { serial: 'SN-4' });
    // it comes back after the console, which otherwise knows only that it missed something
    redis.disconnect();
    await console.server.start();
    await listens();
    await redis.connect();
    await expect.poll(() => page.told().reduce((sum, { more = 1 }) => sum + more, 0)).toBe(4);
    expect(page.told()).toContainEqual({ event: 'more', more: expect.any(Number) });
    await publisher.close();
    page.close();
  });

  it('is told to read anew when the console itself had lost its connection to Redis', async () => {
    const page = await open();
    expect(page.resyncs()).toBe(0);
    await console.server.redis.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await expect.poll(page.resyncs).toBe(1);
    page.close();
  });

  it('is told to read anew when it took nothing for a while, and events went by it', async () => {
    status = async () => ({ ...(await well()), filler: 'x'.repeat(400_000) });
    const page = await open();
    const resyncsAfterPause = async () => {
      page.pause();
      await delay(2000);
      page.resume();
      await delay(500);
      return page.resyncs();
    };
    await expect.poll(resyncsAfterPause).toBeGreaterThan(0);
    page.close();
  });

  it('hears at once what happened, also while it takes long to find out how the gateway is', async () => {
    const page = await open();
    const waiting: (() => void)[] = [];
    status = () => new Promise((resolve) => waiting.push(() => resolve(well())));
    await expect.poll(() => waiting.length).toBe(1);
    const { publisher } = await publisherOf();
    publisher.tell('blocked', { serial: 'SN-5' });
    await expect.poll(page.told).toMatchObject([{ serial: 'SN-5', event: 'blocked' }]);
    for (const answer of waiting) answer();
    await publisher.close();
    page.close();
  });
});

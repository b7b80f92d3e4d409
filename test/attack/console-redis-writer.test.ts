import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createLivePublisher } from '../../queue/redis-live.ts';
import { directoryKeys, jobKey, lineKeys, liveChannel, liveMinuteKey } from '../../queue/stored-keys.ts';
import { createLog } from '../../runtime/log.ts';
import { startTestConsole, type TestConsole } from '../support/console.ts';
import { openEvents } from '../support/console-stream.ts';

const script = '<img src=x onerror=alert(1)>';

describe('a writer of Redis, before an operator who looks at the console', () => {
  let console: TestConsole;
  let browser: Awaited<ReturnType<TestConsole['browser']>>;
  const quick = { gatherMs: 50, nowEveryMs: 100, lineEveryMs: 100 };
  beforeAll(async () => {
    console = await startTestConsole({ deps: { watcherTimes: quick } });
  });
  beforeEach(async () => {
    await console.server.redis.flushall();
    browser = await console.browser();
  });
  afterAll(() => console.close());

  it('hides no device behind entries of the directory that are none, and shows no words of its own there', async () => {
    const { redis } = console.server;
    const key = directoryKeys.of('registered', false);
    await console.keeper.put([{ serial: 'SN-9', state: 'registered', ofSite: false, registeredAt: 1_700_000_000 }]);
    const junk = [
      `${script}\0\0`,
      'call-0800-now please\0\0',
      'SN-1\0!!\0!!',
      'SN-2\0-zzzzzzzzzzz\0',
      'SN-3\0zzzzzzzzzzzzzzzz\0',
      `${'A'.repeat(5000)}\0\0`,
      'SN-4',
      '',
      ...Array.from({ length: 300 }, (_, number) => `!${number}\0\0`),
    ];
    for (const member of junk) await redis.zadd(key, 0, member);
    const listed = await browser.api('/devices?limit=10');
    expect([listed.status, listed.body]).toMatchObject([200, { devices: [{ serial: 'SN-9', state: 'registered' }] }]);
    expect(listed.body.devices).toHaveLength(1);
  });

  it('does not stop the page that all look at, with numbers and names that no part of ours counts', async () => {
    const { redis } = console.server;
    const key = liveMinuteKey(Math.floor(Date.now() / 60_000));
    await redis.hset(key, { vended: '1e999', refused: '9e300', repeated: '-5', 'code:InvalidToken': '1e999' });
    for (const name of ['constructor', 'toString', 'hasOwnProperty', 'PleaseCallZeroEightHundred'])
      await redis.hset(key, `code:${name}`, '5');
    const before = liveMinuteKey(Math.floor(Date.now() / 60_000) - 1);
    const fields = Object.fromEntries(Array.from({ length: 5000 }, (_, number) => [`code:A${number}`, '1']));
    await redis.hset(before, fields);
    await redis.set(liveMinuteKey(Math.floor(Date.now() / 60_000) - 2), 'of another type');
    const stream = openEvents(console, { cookie: browser.cookie });
    await expect.poll(() => stream.events.some(({ event }) => event === 'now')).toBe(true);
    stream.close();
    const now = await browser.api('/now');
    expect(now.status).toBe(200);
    expect(Object.keys(now.body.refusals)).toEqual(['InvalidToken']);
    for (const minute of now.body.perMinute)
      for (const number of [minute.vended, minute.refused, minute.repeated])
        expect(number).toSatisfy(Number.isSafeInteger);
  });

  it('does not stop the page of the line with requests that are none', async () => {
    const { redis } = console.server;
    const add = async (id: string, serial: string, timestamp: string, place: number) => {
      await redis.zadd(lineKeys.entries, place, id);
      await redis.hset(jobKey(id), { data: JSON.stringify({ serial }), timestamp });
    };
    await add('good', 'SN-1', '1700000000000', 1);
    await add('late', 'SN-2', '9e300', 2);
    await add('early', 'SN-3', '-1e300', 3);
    await add('never', 'SN-4', 'NaN', 4);
    await add(script, 'SN-5', '1700000000000', 5);
    await add('../../devices/bulk?', 'SN-6', '1700000000000', 6);
    await add('foreign', script, '1700000000000', 7);
    const line = await browser.api('/line');
    expect(line.status).toBe(200);
    expect(line.body.requests.map(({ serial }: { serial: string }) => serial)).toEqual(['SN-1']);
  });

  it('tells those who watch nothing but what a part of ours could have said', async () => {
    const { redis } = console.server;
    const stream = openEvents(console, { cookie: browser.cookie });
    await expect.poll(() => stream.events.some(({ event }) => event === 'now')).toBe(true);
    const at = Date.now();
    const said = (event: object) => redis.publish(liveChannel, JSON.stringify({ events: [event], more: 0 }));
    await said({ serial: script, event: 'vended', at });
    await said({ serial: 'SN-1', event: script, at });
    await said({ serial: 'SN-1', event: 'refused', at, errorCode: 'PleaseCallZeroEightHundred' });
    await said({ serial: 'SN-1', event: 'refused', at, errorCode: 'constructor' });
    await said({ serial: 'SN-1', event: 'constructor', at });
    await said({ serial: 'SN-1', event: 'vended', at: -1e300 });
    await redis.publish(liveChannel, '['.repeat(100_000));
    const publisher = createLivePublisher(console.redis, createLog('silent'));
    publisher.tell('vended', { serial: 'SN-LAST' });
    await publisher.close();
    const told = () => stream.events.filter(({ event }) => event === 'device').flatMap(({ data }) => data as object[]);
    await expect.poll(told).toMatchObject([{ serial: 'SN-LAST' }]);
    stream.close();
  });

  it('cannot give a session that was signed out, or one of another person, to a browser', async () => {
    const { redis } = console.server;
    const other = await console.browser();
    const keys = (await redis.keys('*console:session:*')).sort();
    const texts = await Promise.all(keys.map((key) => redis.get(key)));
    expect(keys).toHaveLength(2);
    // each under the name of the other
    await redis.set(keys[0] ?? '', texts[1] ?? '');
    await redis.set(keys[1] ?? '', texts[0] ?? '');
    expect((await browser.api('/session')).status).toBe(401);
    expect((await other.api('/session')).status).toBe(401);
  });
});

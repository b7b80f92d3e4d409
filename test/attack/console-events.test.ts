import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { resetPassword } from '../../console/password.ts';
import { watcherLimits } from '../../console/watchers.ts';
import { createLivePublisher } from '../../queue/redis-live.ts';
import { createLog } from '../../runtime/log.ts';
import { startTestConsole, type TestConsole } from '../support/console.ts';
import { openEvents } from '../support/console-stream.ts';

const quick = { gatherMs: 50, nowEveryMs: 100, lineEveryMs: 100, checkMs: 100, slowMs: 300 };

describe('the live events of the console', () => {
  let console: TestConsole;
  beforeAll(async () => {
    console = await startTestConsole({ deps: { watcherTimes: quick } });
  });
  afterAll(() => console.close());

  it('are open to some pages of one person, and to others all the same', async () => {
    const [one, other] = [await console.browser(), await console.browser()];
    const streams = Array.from({ length: watcherLimits.ofCaller + 3 }, () =>
      openEvents(console, { cookie: one.cookie }),
    );
    const statuses = await Promise.all(streams.map(({ opened }) => opened));
    expect(statuses.filter((status) => status === 200)).toHaveLength(watcherLimits.ofCaller);
    expect(statuses.filter((status) => status === 429)).toHaveLength(3);
    const another = openEvents(console, { cookie: other.cookie });
    expect(await another.opened).toBe(200);
    for (const stream of [...streams, another]) stream.close();
    await expect
      .poll(async () => {
        const again = openEvents(console, { cookie: one.cookie });
        const status = await again.opened;
        again.close();
        return status;
      })
      .toBe(200);
  });

  it('are open to an operator although one viewer has taken every place, with sessions as many as wanted', async () => {
    const few = await startTestConsole({ deps: { watcherTimes: quick, watcherLimits: { all: 6, ofCaller: 2 } } });
    try {
      const viewing = await resetPassword(few.dataDir, 'viewer');
      const streams = [];
      for (let number = 0; number < 9; number++) {
        const { cookie } = await few.browser(viewing);
        streams.push(openEvents(few, { cookie }));
        await streams.at(-1)?.opened;
      }
      expect(few.watchers()).toBe(6);
      const { cookie } = await few.browser();
      const own = openEvents(few, { cookie });
      expect(await own.opened).toBe(200);
      await expect.poll(() => own.events.length).toBeGreaterThan(0);
      expect(few.watchers()).toBe(6);
      // an operator gives way to nobody
      const another = openEvents(few, { cookie: (await few.browser(viewing)).cookie });
      expect(await another.opened).toBe(429);
      for (const stream of [...streams, own, another]) stream.close();
    } finally {
      await few.close();
    }
  });

  it('end with the session', async () => {
    const { cookie, api } = await console.browser();
    const stream = openEvents(console, { cookie });
    expect(await stream.opened).toBe(200);
    await expect.poll(() => stream.events.length).toBeGreaterThan(0);
    await api('/session', { method: 'DELETE' });
    await expect.poll(() => stream.ended()).toBe(true);
  });

  it('let the session of a viewer last while they are watched, up to its end, and not that of an operator', async () => {
    const clock = { ahead: 0 };
    const walled = await startTestConsole({ deps: { watcherTimes: quick, now: () => Date.now() + clock.ahead } });
    try {
      const { redis } = walled.server;
      const open = async (password?: string) => {
        const before = await redis.keys('*console:session:*');
        const { cookie } = await walled.browser(password);
        const [key = ''] = (await redis.keys('*console:session:*')).filter((name) => !before.includes(name));
        const stream = openEvents(walled, { cookie });
        expect(await stream.opened).toBe(200);
        return { key, stream };
      };
      const viewer = await open(await resetPassword(walled.dataDir, 'viewer'));
      const operator = await open();
      for (const { key } of [viewer, operator]) await redis.pexpire(key, 600_000);
      clock.ahead = 120_000;
      await expect.poll(() => redis.pttl(viewer.key)).toBeGreaterThan(600_000);
      expect(await redis.pttl(operator.key)).toBeLessThanOrEqual(600_000);
      clock.ahead = 12.1 * 3_600_000;
      await expect.poll(() => viewer.stream.ended()).toBe(true);
      operator.stream.close();
    } finally {
      await walled.close();
    }
  });

  it('tell what happens to 500 devices in a second in few messages, and the number of the others', async () => {
    const { cookie, api } = await console.browser();
    const stream = openEvents(console, { cookie });
    await stream.opened;
    await expect.poll(() => stream.events.some(({ event }) => event === 'now')).toBe(true);
    const publisher = createLivePublisher(console.redis, createLog('silent'));
    for (let number = 0; number < 500; number++)
      publisher.tell(number % 5 === 0 ? 'refused' : 'vended', {
        serial: `SN-${number}`,
        ...(number % 5 === 0 ? { errorCode: 'InvalidToken' } : {}),
      });
    await publisher.close();
    const told = () =>
      stream.events
        .filter(({ event }) => event === 'device')
        .flatMap(({ data }) => data as { event: string; more?: number }[]);
    await expect.poll(() => told().length).toBeGreaterThan(0);
    expect(told().filter(({ event }) => event !== 'more')).toHaveLength(watcherLimits.events);
    expect(told().reduce((sum, { more = 0 }) => sum + more, 0)).toBe(500 - watcherLimits.events);
    const summary = async () => {
      const now = (await api('/now')).body as { perMinute: { vended: number }[]; refusals: object };
      return [now.perMinute.reduce((sum, { vended }) => sum + vended, 0), now.refusals];
    };
    // what everybody looks at is read every few seconds
    await expect.poll(summary).toEqual([400, { InvalidToken: 100 }]);
    stream.close();
  });

  it('are not kept for a page that takes none, and it is disconnected', async () => {
    const large = { at: 'now', ok: true, filler: 'x'.repeat(400_000) };
    const slow = await startTestConsole({ deps: { watcherTimes: quick, status: async () => large } });
    try {
      const own = await slow.browser();
      const stream = openEvents(slow, { cookie: own.cookie });
      await stream.opened;
      stream.pause();
      const readers = () => slow.watchers();
      await expect.poll(readers).toBe(0);
      stream.close();
    } finally {
      await slow.close();
    }
  });
});

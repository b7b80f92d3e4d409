import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { hashToken } from '../../protocol/token.ts';
import { redisAt } from '../../queue/redis.ts';
import { watchRedis } from '../../queue/redis-health.ts';
import { createRequestQueue } from '../../queue/request-queue.ts';
import { jobKey } from '../../queue/stored-keys.ts';
import { createLog } from '../../runtime/log.ts';
import { type RedisPlace, redisPlace } from '../../runtime/redis-place.ts';
import { deriveReplyKeys } from '../../sealing/replies.ts';
import { askOnce } from '../support/device.ts';
import { startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { redisServers, type Server } from '../support/redis-servers.ts';
import { newGateway } from '../support/trust.ts';

const log = createLog('silent');
function withSentinelPassword(url: string, sentinelPassword: string | undefined): RedisPlace {
  const place = redisPlace(url);
  return place.by === 'sentinel' && sentinelPassword !== undefined ? { ...place, sentinelPassword } : place;
}
const failover = { timeout: 45_000 };

describe.skipIf(lacks('redis-server'))('Redis by Sentinel', () => {
  const closers: (() => Promise<void>)[] = [];
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
  });
  function servers() {
    const all = redisServers();
    closers.push(() => all.close());
    return all;
  }
  function closed<T extends { close(): Promise<void> }>(part: T): T {
    closers.push(() => part.close());
    return part;
  }
  const request = (serial: string) => ({
    requestId: randomUUID(),
    serial,
    tokenHash: hashToken(serial),
    replyKey: deriveReplyKeys(serial, 'any-token').publicKey,
    key: 'ec' as const,
    receivedAt: Date.now(),
  });
  async function masterOf({ sentinels }: { sentinels: readonly Server[] }, all: readonly Server[]): Promise<Server> {
    const [sentinel] = sentinels as [Server];
    const [, port] = (await sentinel.redis.call('SENTINEL', 'get-master-addr-by-name', 'mymaster')) as [string, string];
    return all.find((each) => each.port === Number(port)) as Server;
  }

  it('keeps every request that two replicas had before its PUBACK, when the master dies in the middle of a load', async () => {
    const site = await servers().withSentinels();
    const queue = closed(
      createRequestQueue(redisAt(site.url), log, newGateway(), { count: 2, on: 'memory', waitMs: 500 }),
    );
    const stored: string[] = [];
    let [refused, going] = [0, true];
    const devices = Array.from({ length: 4 }, async (_, device) => {
      for (let count = 0; going; count++) {
        const each = request(`SN-${device}-${count}`);
        await queue.add(each).then(
          (answeredAs) => stored.push(answeredAs?.requestId ?? 'refused for its key'),
          () => refused++,
        );
        await sleep(10);
      }
    });
    await expect.poll(() => stored.length, failover).toBeGreaterThan(50);
    await site.master.kill();
    const before = stored.length;
    await expect.poll(() => refused, failover).toBeGreaterThan(0);
    const all = [site.master, ...site.replicas];
    await expect.poll(async () => (await masterOf(site, all)).port, failover).not.toBe(site.master.port);
    // it comes back as a replica of the new master
    await site.master.start();
    await expect.poll(() => stored.length, failover).toBeGreaterThan(before + 50);
    going = false;
    await Promise.all(devices);
    const { redis } = await masterOf(site, all);
    const missing = [];
    for (const id of stored) if ((await redis.exists(jobKey(id))) === 0) missing.push(id);
    expect(missing).toEqual([]);
  });

  it('loses in a failover what no replica had, where none is asked for; with one asked for, that gets no PUBACK', async () => {
    const site = await servers().withSentinels({ replicas: 1 });
    const [replica] = site.replicas as [Server];
    const careless = closed(createRequestQueue(redisAt(site.url), log, newGateway()));
    const careful = closed(
      createRequestQueue(redisAt(site.url), log, newGateway(), { count: 1, on: 'memory', waitMs: 200 }),
    );
    const [kept, lost, unpromised] = [request('kept'), request('lost'), request('unpromised')];
    await expect.poll(() => careful.add(kept).catch(String)).toMatchObject({ requestId: kept.requestId });
    // its link is cut as well, so that nothing waits for it in a socket
    replica.signal('SIGSTOP');
    await site.master.redis.client('KILL', 'TYPE', 'REPLICA');
    await expect.poll(() => careless.add(lost).catch(String)).toMatchObject({ requestId: lost.requestId });
    await expect(careful.add(unpromised)).rejects.toThrow('0 of 1 replicas had a request within 200 ms');
    // nor when it asks again, and an equal request is there
    await expect(careful.add({ ...unpromised, requestId: randomUUID() })).rejects.toThrow('0 of 1 replicas');
    await site.master.kill();
    replica.signal('SIGCONT');
    await expect.poll(async () => (await masterOf(site, [site.master, replica])).port, failover).toBe(replica.port);
    await expect.poll(() => replica.redis.info('replication'), failover).toContain('role:master');
    const known = await Promise.all([kept, lost].map(({ requestId }) => replica.redis.exists(jobKey(requestId))));
    expect(known).toEqual([1, 0]);
    // the device asks again
    const again = { ...lost, requestId: randomUUID() };
    await expect.poll(() => careless.add(again).catch(String), failover).toMatchObject({ requestId: again.requestId });
  });

  it('gives devices their certificates before and after a failover, and health names what is away', async () => {
    const site = await servers().withSentinels({ password: 'red-secret', sentinelPassword: 'watch-secret' });
    const place = withSentinelPassword(site.url, 'watch-secret');
    const gateway = await startGateway({ redisPlace: place });
    closers.push(() => gateway.close());
    const health = closed(watchRedis(redisAt(place), log));
    await expect.poll(() => health.trouble()).toBeUndefined();
    /** A device that asks again until it has its certificate. */
    const served = async (serial: string) => {
      const { token } = await gateway.enrol(serial);
      const ask = () =>
        Promise.race([askOnce(gateway.broker, serial, { token, key: 'ec' }), sleep(3000, { status: 'silence' })]);
      await expect
        .poll(() => ask().catch(({ message }: Error) => ({ status: message })), failover)
        .toMatchObject({
          status: 'accepted',
        });
    };
    await served('before');
    await site.master.kill();
    const during = served('during');
    await expect.poll(() => health.trouble(), failover).toMatch(/mymaster of the Sentinels 127.0.0.1:\d+/);
    await during;
    await expect.poll(() => health.trouble(), failover).toBeUndefined();
    for (const sentinel of site.sentinels) await sentinel.kill();
    for (const replica of site.replicas) await replica.kill();
    await expect.poll(() => health.trouble(), failover).toMatch(/No Sentinel could be asked.*correct their addresses/);
    expect(gateway.logText() + (await health.trouble())).not.toMatch(/red-secret|watch-secret/);
  });

  it.each([
    [
      'a wrong name of the master',
      (url: string) => url.replace('mymaster', 'other'),
      'watch-secret',
      /sentinel monitor/,
    ],
    ['a wrong password of the Sentinels', (url: string) => url, 'wrong', /CVM_REDIS_SENTINEL_PASSWORD_FILE/],
    ['no password of the Sentinels', (url: string) => url, undefined, /CVM_REDIS_SENTINEL_PASSWORD_FILE/],
  ])('names the cure of %s', async (_what, change, sentinelPassword, cure) => {
    const site = await servers().withSentinels({ replicas: 0, sentinels: 1, sentinelPassword: 'watch-secret' });
    const place = withSentinelPassword(change(site.url), sentinelPassword);
    const health = closed(watchRedis(redisAt(place), log));
    await expect.poll(() => health.trouble(), failover).toMatch(cure);
    expect(await health.trouble()).not.toContain('watch-secret');
  });
});

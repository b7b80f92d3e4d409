import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { redisAt } from '../../queue/redis.ts';
import { watchRedis } from '../../queue/redis-health.ts';
import { ownKey } from '../../queue/stored-keys.ts';
import { createLog } from '../../runtime/log.ts';
import { askOnce } from '../support/device.ts';
import { startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { redisServers } from '../support/redis-servers.ts';

const log = createLog('silent');
const failover = { timeout: 45_000 };

describe.skipIf(lacks('redis-server'))('Redis by Cluster', () => {
  const closers: (() => Promise<void>)[] = [];
  afterEach(async () => {
    for (const close of closers.splice(0).reverse()) await close();
  });
  function servers() {
    const all = redisServers();
    closers.push(() => all.close());
    return all;
  }
  const closed = <T extends { close(): Promise<void> }>(part: T): T => {
    closers.push(() => part.close());
    return part;
  };

  it('serves all devices of a load in which the node with our keys dies, and no key of ours is on another node', async () => {
    const site = await servers().cluster();
    const gateway = await startGateway({
      redisPlace: site.url,
      env: { CVM_REDIS_REPLICAS: '1', CVM_REDIS_REPLICAS_WAIT: '500ms' },
    });
    closers.push(() => gateway.close());
    const health = closed(watchRedis(redisAt(site.url), log));
    await expect.poll(() => health.trouble(), failover).toBeUndefined();

    const served: string[] = [];
    /** A device that asks again until it has its certificate. */
    async function device(serial: string): Promise<void> {
      const { token } = await gateway.enrol(serial);
      for (;;) {
        const asked = askOnce(gateway.broker, serial, { token, key: 'ec' }).catch(() => ({ status: 'closed' }));
        const { status } = await Promise.race([asked, sleep(3000, { status: 'silence' })]);
        if (status === 'accepted') return void served.push(serial);
        await sleep(200);
      }
    }
    const serials = Array.from({ length: 12 }, (_, index) => `SN-${index}`);
    const owner = await site.owner(ownKey('roster'));
    const load = Promise.all(
      serials.map(async (serial, index) => {
        await sleep(index * 100);
        await device(serial);
      }),
    );
    await expect.poll(() => served.length, failover).toBeGreaterThan(2);
    await owner.kill();
    await expect.poll(() => health.trouble(), failover).toMatch(/the Cluster of 127.0.0.1/);
    // the replica that took over has none itself, until the node is back
    await expect.poll(() => site.owner(ownKey('roster')).catch(() => owner), failover).not.toBe(owner);
    await owner.start();
    await load;
    expect(served.sort()).toEqual(serials.sort());
    await expect.poll(() => health.trouble(), failover).toBeUndefined();
    const now = await site.owner(ownKey('roster'));
    for (const node of site.nodes) {
      const info = await node.redis.info('replication');
      if (node !== now && info.includes('role:master')) expect(await node.redis.keys('*')).toEqual([]);
    }
  });

  it('goes on at the new master after a failover by hand, in which the connections stay', async () => {
    const site = await servers().cluster();
    const redis = redisAt(site.url).connect('wait', log);
    closers.push(async () => redis.disconnect());
    const [heard, told] = [[] as string[], redisAt(site.url).connect('wait', log)];
    closers.push(async () => told.disconnect());
    told.on('message', (_channel, text) => heard.push(text));
    await told.subscribe(ownKey('news'));
    await redis.set(ownKey('x'), 'before');
    const owner = await site.owner(ownKey('x'));
    const port = (node: typeof owner) => node.port;
    const replica = site.nodes[site.nodes.map(port).indexOf(port(owner)) + 3];
    let begun = Number.NEGATIVE_INFINITY;
    const failOver = async () => {
      // Redis gives one up after five seconds, which is short for a busy machine
      if (performance.now() - begun > 6000) {
        begun = performance.now();
        await replica?.redis.call('CLUSTER', 'FAILOVER').catch(() => {});
      }
      return port(await site.owner(ownKey('x')));
    };
    await expect.poll(failOver, failover).toBe(replica?.port);
    expect(await redis.get(ownKey('x'))).toBe('before');
    await redis.multi().set(ownKey('x'), 'after').set(ownKey('y'), 'after').exec();
    expect(await replica?.redis.get(ownKey('y'))).toBe('after');
    // it may be about to listen at the new master
    await expect
      .poll(() => redis.publish(ownKey('news'), 'still heard').then(() => heard), failover)
      .toContain('still heard');
  });

  it('is heard again where the node that we listen at was taken out of the Cluster, and runs on', async () => {
    const site = await servers().cluster();
    const connector = redisAt(site.url, { ownerMs: 500 });
    const [redis, listening] = [connector.connect('wait', log), connector.connect('wait', log)];
    closers.push(async () => [redis, listening].forEach((each) => void each.disconnect()));
    const heard: string[] = [];
    listening.on('message', (_channel, text) => heard.push(text));
    await listening.subscribe(ownKey('news'));
    const owner = await site.owner(ownKey('x'));
    const left = site.nodes.filter((node) => node !== owner);
    const next = left[0] as typeof owner;
    const slot = Number(await owner.redis.cluster('KEYSLOT', ownKey('x')));
    const [from, to] = [await owner.redis.cluster('MYID'), await next.redis.cluster('MYID')];
    // what `redis-cli --cluster del-node` does; of the slots only ours is given to another first
    for (const { redis: node } of left) await node.config('SET', 'cluster-require-full-coverage', 'no');
    await next.redis.cluster('SETSLOT', slot, 'NODE', to);
    await owner.redis.cluster('SETSLOT', slot, 'NODE', to);
    for (const { redis: node } of left) await node.call('CLUSTER', 'FORGET', from).catch(() => {});
    await owner.redis.cluster('RESET', 'SOFT');
    await expect
      .poll(async () => {
        // by this one it learns that the key has moved
        await redis.set(ownKey('x'), '');
        await redis.publish(ownKey('news'), 'still heard');
        return heard;
      }, failover)
      .toContain('still heard');
  });

  it('says which kind of Redis REDIS_URL is to name, where it names the other kind', async () => {
    const all = servers();
    const [single, cluster] = [await all.server([]), await all.cluster()];
    const trouble = (url: string) => closed(watchRedis(redisAt(url), log)).trouble;
    const owner = await cluster.owner(ownKey(''));
    const other = cluster.nodes.find((node) => node !== owner);
    await expect
      .poll(trouble(`redis+cluster://127.0.0.1:${single.port}`), failover)
      .toMatch(/is no Cluster: write redis:\/\//);
    await expect
      .poll(trouble(`redis://127.0.0.1:${other?.port}`), failover)
      .toMatch(/node of a Cluster: write redis\+c/);
    for (const { kill } of cluster.nodes) await kill();
    await expect.poll(trouble(cluster.url), failover).toMatch(/Start the nodes of the Cluster.*ECONNREFUSED/);
  });
});

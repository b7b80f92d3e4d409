import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { requireReplicas } from '../../app/redis.ts';
import { redisAt } from '../../queue/redis.ts';
import { watchRedis } from '../../queue/redis-health.ts';
import { createLog } from '../../runtime/log.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { lacks } from '../support/lacks.ts';
import { redisServers, type Server } from '../support/redis-servers.ts';

const log = createLog('silent');
const settings = (env: Record<string, string>) => loadSettings({ CVM_REDIS_REPLICAS: '1', ...env });

describe.skipIf(lacks('redis-server'))('a Redis whose replicas are to have each request', () => {
  const servers = redisServers();
  let [durable, forgetful]: [Server, Server] = [undefined as never, undefined as never];
  const urlOf = ({ port }: Server) => `redis://127.0.0.1:${port}/0`;
  beforeAll(async () => {
    [durable, forgetful] = [await servers.server(['appendonly yes']), await servers.server(['appendonly no'])];
  });
  afterAll(() => servers.close());

  it('is asked at the start whether it can wait for their disks, and the cure is named where it cannot', async () => {
    const onDisk = settings({ CVM_REDIS_REPLICAS_ON: 'disk' });
    const start = (server: Server) => requireReplicas(redisAt(urlOf(server)), onDisk, log);
    const hasWaitAof = ((await durable.redis.call('COMMAND', 'INFO', 'WAITAOF')) as unknown[])[0] !== null;
    if (hasWaitAof) {
      await start(durable);
      await expect(start(forgetful)).rejects.toThrow('CVM_REDIS_REPLICAS_ON: this server has no append-only file');
    } else await expect(start(durable)).rejects.toThrow(/CVM_REDIS_REPLICAS_ON: .* use Redis 7.2, Valkey 7.2 or newer/);
    // WAIT is in every version
    await requireReplicas(redisAt(urlOf(forgetful)), settings({}), log);
  });

  it('is in trouble while it has too few of them, for the broker, and not for the worker', async () => {
    const [broker, worker] = [
      watchRedis(redisAt(urlOf(durable)), log, settings({}).redisReplicas),
      watchRedis(redisAt(urlOf(durable)), log),
    ];
    const cure =
      'Redis has 0 of the 1 replicas that CVM_REDIS_REPLICAS asks for, so no request gets a PUBACK: start them';
    await expect.poll(() => broker.trouble()).toContain(cure);
    await expect.poll(() => worker.trouble()).toBeUndefined();
    await servers.server([`replicaof 127.0.0.1 ${durable.port}`]);
    await expect.poll(() => broker.trouble()).toBeUndefined();
    for (const each of [broker, worker]) await each.close();
  });
});

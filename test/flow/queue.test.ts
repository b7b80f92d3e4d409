import { randomUUID } from 'node:crypto';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hashToken } from '../../protocol/token.ts';
import { recipientIdOf } from '../../queue/provisioning-request.ts';
import { redisAt } from '../../queue/redis.ts';
import { createReplyFeed, createReplyStore } from '../../queue/redis-replies.ts';
import type { BoundReply } from '../../queue/replies.ts';
import { createRequestQueue, startRequestWorker } from '../../queue/request-queue.ts';
import { jobKey } from '../../queue/stored-keys.ts';
import { createLog } from '../../runtime/log.ts';
import { deriveReplyKeys, openAnswer, sealer } from '../../sealing/replies.ts';
import { loadGateway } from '../../site-tls/gateway-key.ts';
import { createMetrics } from '../../telemetry/metrics.ts';
import { noSightings } from '../../telemetry/sightings.ts';
import { startWorker } from '../../worker/worker.ts';
import { askOnce, connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { createRecorder } from '../support/records.ts';
import { monitorRedis } from '../support/redis-monitor.ts';
import { newGateway, tableKey, trustOf } from '../support/trust.ts';

const queuedRequest = (serial: string, tokenHash: string) => ({
  requestId: '00000000-0000-4000-8000-000000000000',
  serial,
  tokenHash,
  replyKey: deriveReplyKeys(serial, 'any-token').publicKey,
  key: 'ec' as const,
});

describe.skipIf(lacks('redis-server'))('the queue', () => {
  let gateway: Gateway;
  let redis: Redis;
  let worker: Gateway['worker'];
  beforeAll(async () => {
    gateway = await startGateway();
    worker = gateway.worker;
    redis = new Redis(gateway.redis.url);
  });
  afterAll(async () => {
    await redis?.quit();
    await gateway?.close();
  });
  const waiting = async () => (await redis.keys('{cvm}:asks:*')).filter((key) => /:[0-9a-f]{8}-[0-9a-f-]+$/.test(key));

  it('holds the same request once, and every connection that asked is answered', async () => {
    await worker.close();
    const { serial, token } = await gateway.enrol('queue-same');
    const other = await gateway.startOneBroker();
    const devices = await Promise.all([gateway.broker, gateway.broker, other].map((broker) => connectDevice(broker)));
    for (const { client } of devices)
      await client.publishAsync(`cvm/request/${serial}`, JSON.stringify({ token, key: 'ec' }), { qos: 1 });
    expect(await waiting()).toHaveLength(1);
    worker = gateway.startOneWorker();
    const replies = await Promise.all(devices.map((device) => device.next()));
    expect(new Set(replies.map(({ certificateId }) => certificateId)).size).toBe(1);
    expect(replies.map(({ status }) => status)).toEqual(['accepted', 'accepted', 'accepted']);
    for (const { client } of devices) await client.endAsync(true);
  });

  it('has one request of a device: one for another key is refused until the first is answered', async () => {
    await worker.close();
    const { serial, token } = await gateway.enrolOnRoster('queue-ids');
    const devices = await Promise.all([1, 2].map(() => connectDevice(gateway.broker)));
    for (const [index, { client }] of devices.entries()) {
      await client.subscribeAsync(`cvm/reply/${serial}`, { qos: 1 });
      const request = { token, key: index === 0 ? 'ec' : 'rsa', id: `id-${index}` };
      await client.publishAsync(`cvm/request/${serial}`, JSON.stringify(request), { qos: 1 });
    }
    const [first, second] = devices;
    expect(await second?.next()).toMatchObject({ id: 'id-1', errorCode: 'Throttled', retryAfter: 10 });
    expect(await waiting()).toHaveLength(1);
    worker = gateway.startOneWorker();
    expect(await first?.next()).toMatchObject({ id: 'id-0', status: 'accepted' });
    // a copy: it presented the token, too
    expect(await second?.next()).toMatchObject({ status: 'accepted' });
    await gateway.queueIsEmpty();
    await second?.client.publishAsync(`cvm/request/${serial}`, JSON.stringify({ token, key: 'rsa', id: 'id-2' }), {
      qos: 1,
    });
    expect(await second?.next()).toMatchObject({ id: 'id-2', status: 'accepted' });
    for (const { client } of devices) await client.endAsync(true);
  });

  it('forgets an answered request: the same request later gets its own answer', async () => {
    const { serial, token } = await gateway.enrol('queue-again');
    const row = await gateway.registry.find(serial);
    if (row) await gateway.registry.block(row);
    expect(await askOnce(gateway.broker, serial, { token, key: 'ec' })).toMatchObject({ errorCode: 'Forbidden' });
    await gateway.queueIsEmpty();
    const blocked = await gateway.registry.find(serial);
    if (blocked) await gateway.registry.unblock(blocked);
    expect(await askOnce(gateway.broker, serial, { token, key: 'ec' })).toMatchObject({ status: 'accepted' });
    await expect.poll(waiting).toEqual([]);
    expect(await redis.keys('{cvm}:asks:de:*')).toEqual([]);
  });

  it('pauses for every worker while AWS throttles', async () => {
    await worker.close();
    const log = createLog('silent');
    const requests = createRequestQueue(redisAt(gateway.redis.url), log, newGateway());
    const add = (serial: string) =>
      requests.add({ ...queuedRequest(serial, hashToken(serial)), requestId: randomUUID(), receivedAt: Date.now() });
    const taken: number[] = [];
    const pauseMs = 1500;
    const handle = async () => (taken.push(Date.now()) === 1 ? { slowDown: pauseMs } : ('answered' as const));
    const startWorker = () =>
      startRequestWorker({
        redis: redisAt(gateway.redis.url),
        concurrency: 4,
        log,
        handle,
        acknowledge: async () => {},
      });
    const workers = [startWorker(), startWorker()];
    await add('throttled');
    await expect.poll(() => taken.length).toBeGreaterThan(0);
    // the pause has reached Redis: a count of jobs that no worker reaches
    await expect.poll(async () => Number(await redis.get(jobKey('limiter')))).toBeGreaterThan(1_000_000);
    await Promise.all(['next-1', 'next-2', 'next-3'].map(add));
    // the throttled request as well is taken up again
    await expect.poll(() => taken.length).toBe(5);
    const [first = 0, second = 0] = taken;
    expect(second - first).toBeGreaterThan(pauseMs * 0.9);
    await Promise.all([...workers, requests].map((each) => each.close()));
    worker = gateway.startOneWorker();
  });

  it('an acknowledgement does not wait behind the requests of a storm: its token ends at once', async () => {
    await worker.close();
    const log = createLog('silent');
    const requests = createRequestQueue(redisAt(gateway.redis.url), log, newGateway());
    for (const serial of ['storm-1', 'storm-2', 'storm-3'])
      await requests.add({
        ...queuedRequest(serial, hashToken(serial)),
        requestId: randomUUID(),
        receivedAt: Date.now(),
      });
    await requests.acknowledge({
      serial: 'served-1',
      tokenHash: hashToken('served-1'),
      certificateId: 'a'.repeat(64),
    });
    const taken: string[] = [];
    const take = ({ message }: { message: { serial: string } }) => void taken.push(message.serial);
    const other = startRequestWorker({
      redis: redisAt(gateway.redis.url),
      concurrency: 1,
      log,
      handle: async (request) => {
        take(request);
        return 'answered';
      },
      acknowledge: async (acknowledgement) => take(acknowledgement),
    });
    await expect.poll(() => taken).toEqual(['served-1', 'storm-1', 'storm-2', 'storm-3']);
    await Promise.all([other, requests].map((each) => each.close()));
    worker = gateway.startOneWorker();
  });

  it('ends a request that waited for more than a day, although the table does not tell whose gateway stored it', async () => {
    await worker.close();
    const log = createLog('silent');
    const own = newGateway();
    const requests = createRequestQueue(redisAt(gateway.redis.url), log, own);
    const delivered: BoundReply[] = [];
    const other = startWorker({
      ...{ log, redis: redisAt(gateway.redis.url), concurrency: 1, maxBackoffMs: 10, table: 'devices' },
      ...{ audit: createRecorder().audit, sightings: noSightings, metrics: createMetrics().metrics },
      context: {
        replies: { deliver: async (reply: BoundReply) => void delivered.push(reply) },
        seal: sealer,
        now: Date.now,
      } as never,
      gateways: { isApproved: () => Promise.reject(new Error('the table is away')) },
      admission: { admit: async () => undefined },
      learnTime: async () => {},
      lookAtClock() {},
    });
    const receivedAt = Date.now() - 25 * 3_600_000;
    const answeredAs = await requests.add({ ...queuedRequest('old-stranger', hashToken('t')), receivedAt });
    await expect.poll(() => delivered).toMatchObject([{ ...answeredAs, onlyGateway: own.identity.id }]);
    await expect.poll(waiting).toEqual([]);
    await Promise.all([other.close(), requests.close()]);
    worker = gateway.startOneWorker();
  });

  it('rejects a request that waited for more than a day, and creates nothing for it', async () => {
    const { serial, token } = await gateway.enrol('queue-old');
    const log = createLog('silent');
    const [requests, feed] = [
      createRequestQueue(redisAt(gateway.redis.url), log, await loadGateway(gateway.dataDir)),
      createReplyFeed(redisAt(gateway.redis.url), log, trustOf(await gateway.tableKey()), 'any'),
    ];
    const keys = deriveReplyKeys(serial, token);
    const tokenHash = hashToken(token);
    const answeredAs = await requests.add({
      ...queuedRequest(serial, tokenHash),
      replyKey: keys.publicKey,
      receivedAt: Date.now() - 25 * 3_600_000,
    });
    if (answeredAs === undefined) throw new Error('the request was not stored');
    const { requestId } = answeredAs;
    await expect.poll(() => feed.fetch([requestId])).toHaveLength(1);
    const [reply] = await feed.fetch([requestId]);
    expect(openAnswer(keys, recipientIdOf(serial, tokenHash), reply?.sealed ?? '')).toMatchObject({
      status: 'rejected',
      problem: { code: 'UpstreamUnavailable', retryAfterSeconds: 60 },
    });
    expect(await gateway.registry.find(serial)).toMatchObject({ state: 'enrolled', attempt: 0 });
    await Promise.all([requests.close(), feed.close()]);
  });

  it('passes a broker the replies that it wants, and checks no signature of the others, which are for the devices of other brokers', async () => {
    const untrusted = trustOf(await gateway.tableKey());
    let checks = 0;
    const feed = createReplyFeed(
      redisAt(gateway.redis.url),
      createLog('silent'),
      {
        ...untrusted,
        key() {
          checks++;
          return untrusted.key();
        },
      },
      'any',
    );
    const [heard, asked]: [string[], string[]] = [[], []];
    const [mine, other] = [await gateway.enrol('wanted-mine'), await gateway.enrol('wanted-other')];
    const recipientId = recipientIdOf(mine.serial, hashToken(mine.token));
    await feed.listen(
      (reply) => heard.push(reply.recipientId),
      () => {},
      (ids) => asked.push(ids.recipientId) > 0 && ids.recipientId === recipientId,
    );
    for (const { serial, token } of [mine, other]) await askOnce(gateway.broker, serial, { token, key: 'ec' });
    await expect.poll(() => asked.length).toBeGreaterThanOrEqual(2);
    await expect.poll(() => heard).toEqual([recipientId]);
    expect(checks).toBe(1);
    await feed.close();
  });

  it('stores a reply and announces it in one step: a worker that dies leaves none that is stored and was not announced', async () => {
    const seen: { readonly command: string; readonly from: string }[] = [];
    const requestId = randomUUID();
    const endMonitor = await monitorRedis(gateway.redis.url, ({ command, args, from }) => {
      if (args.join().includes(requestId)) seen.push({ command, from });
    });
    const store = createReplyStore(redisAt(gateway.redis.url), createLog('silent'), async () => tableKey());
    await store.deliver({ requestId, recipientId: 'any', requestKey: 'any', sealed: 'any' });
    const inScript = (command: string) => ({ command, from: 'lua' });
    await expect
      .poll(() => seen.filter(({ command }) => !command.startsWith('eval')))
      .toEqual([inScript('set'), inScript('publish')]);
    endMonitor();
    await store.close();
  });

  it('ends a request that a broker of version 0.1.0 left there without a signature, and answers those behind it', async () => {
    const { serial, token } = await gateway.enrol('queue-upgrade');
    const [askId, tokenHash] = ['00000000-0000-4000-8000-000000000001', hashToken(token)];
    const replyKey = deriveReplyKeys(serial, token).publicKey;
    const queue = new Queue('asks', { connection: { url: gateway.redis.url }, prefix: '{cvm}' });
    const data = { askId, serial, tokenHash, replyKey, key: 'ec', receivedAt: Date.now() };
    await queue.add('ask', data, { jobId: askId, removeOnComplete: true });
    expect(await askOnce(gateway.broker, serial, { token, key: 'ec' })).toMatchObject({ status: 'accepted' });
    await expect.poll(waiting).toEqual([]);
    expect(await redis.exists(`{cvm}:answer:${askId}`)).toBe(0);
    expect(gateway.logText()).toContain('a request that no gateway signed');
    await queue.close();
  });
});

import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { replyTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { hashToken } from '../../protocol/token.ts';
import { recipientIdOf } from '../../queue/provisioning-request.ts';
import * as forms from '../../queue/stored-forms.ts';
import * as keys from '../../queue/stored-keys.ts';
import { deriveReplyKeys, sealer } from '../../sealing/replies.ts';
import { askOnce, connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { newGateway } from '../support/trust.ts';

const garbage = [
  '',
  '{',
  'null',
  '[]',
  '[1]',
  '"x"',
  '{"askId":1}',
  '{"__proto__":{}}',
  `["${'x'.repeat(200)}"]`,
  'x'.repeat(3_000_000),
];

/** A writer of Redis can stop the gateway by deleting everything. Nothing less may stop it. */
describe.skipIf(lacks('redis-server'))('what a writer of Redis leaves there in no form of ours', () => {
  let gateway: Gateway;
  let redis: Redis;
  beforeAll(async () => {
    gateway = await startGateway();
    redis = new Redis(gateway.redis.url);
  });
  afterAll(async () => {
    await redis?.quit();
    await gateway?.close();
  });
  const isServed = async (serial: string) => {
    const { token } = await gateway.enrolOnRoster(serial);
    expect(await askOnce(gateway.broker, serial, { token, key: 'ec' })).toMatchObject({ status: 'accepted' });
  };

  it('on the channels of replies and of the roster is ignored, and devices are served', async () => {
    for (const text of garbage) {
      await redis.publish(keys.repliesChannel, text);
      await redis.publish(keys.rosterKeys.channel, text);
    }
    await isServed('after-channels');
    expect(gateway.logText()).toContain('no part of this gateway writes');
  });

  it('among the entries of the roster, keys of gateways and positions is left out, and a broker that starts serves the others', async () => {
    for (const [index, text] of garbage.entries()) {
      await redis.hset(keys.rosterKeys.entries, `garbage-${index}`, text);
      await redis.hset(keys.rosterKeys.gateways, `garbage-${index}`, text);
    }
    await redis.set(keys.rosterKeys.position, 'garbage');
    const { serial, token } = await gateway.enrolOnRoster('after-roster');
    const broker = await gateway.startOneBroker();
    expect(await askOnce(broker, serial, { token, key: 'ec' })).toMatchObject({ status: 'accepted' });
  });

  it('in the queue is dropped, and the requests behind it are answered', async () => {
    const queue = new Queue(keys.queueName, {
      connection: { url: gateway.redis.url } as never,
      prefix: keys.keyPrefix,
    });
    for (const data of [null, 1, 'x', [], { askId: 'a' }, { askId: 'a', serial: '../x', key: 'ec' }] as object[])
      for (const name of [keys.requestJob, keys.acknowledgementJob, 'other']) await queue.add(name, data);
    await isServed('after-queue');
    await expect.poll(async () => (await queue.getJobCountByTypes('waiting', 'active', 'delayed')) as number).toBe(0);
    await queue.close();
  });

  it('in the queue as broken JSON is dropped and reported', async () => {
    for (const field of ['data', 'opts', 'progress', 'parent'])
      for (let number = 0; number < 5; number++) {
        await redis.hset(keys.jobKey(`broken-${field}-${number}`), {
          name: 'ask',
          data: '{}',
          opts: '{}',
          [field]: '{',
        });
        await redis.lpush(keys.jobKey('wait'), `broken-${field}-${number}`);
      }
    await isServed('after-broken-json');
    await expect.poll(() => redis.keys(keys.jobKey('broken-*'))).toEqual([]);
    await expect.poll(() => redis.llen(keys.jobKey('active'))).toBe(0);
    expect(gateway.logText()).toContain('no part of this gateway writes');
  });

  it('in the queue decides neither how often a job is tried nor what the log says of it', async () => {
    const queue = new Queue(keys.queueName, {
      connection: { url: gateway.redis.url } as never,
      prefix: keys.keyPrefix,
    });
    const before = gateway.logText().length;
    const opts = { attempts: 1e9, backoff: { type: 'fixed', delay: 1 } };
    // every exchange with this key gives zero
    const unusable = { replyKey: 'A'.repeat(43), receivedAt: Date.now(), key: 'ec' as const, tokenHash: 'h' };
    const strange = forms.toStoredRequest({ requestId: 'unusable', serial: 'strange', ...unusable }, newGateway());
    await queue.add(keys.requestJob, strange, { ...opts, jobId: 'unusable' });
    await queue.add('x'.repeat(3_000_000), strange, { ...opts, jobId: 'long-name' });
    await isServed('after-strange-options');
    await expect.poll(() => queue.getJobCountByTypes('waiting', 'active', 'delayed', 'completed', 'failed')).toBe(0);
    await queue.close();
    expect(gateway.logText().length - before).toBeLessThan(100_000);
  });

  it('as a key of another type is deleted, and stops neither workers nor brokers, nor a broker that starts', async () => {
    const lists = [keys.seenCertificatesKey, keys.tableKeyKey, keys.evenSinceKey, ...Object.values(keys.rosterKeys)];
    const spoil = async () => {
      for (const key of lists) await redis.multi().del(key).rpush(key, 'x').exec();
    };
    await spoil();
    const { serial, token } = await gateway.enrol('after-wrong-types');
    expect(await askOnce(gateway.broker, serial, { token, key: 'ec' })).toMatchObject({ status: 'accepted' });
    await expect.poll(() => gateway.broker.roster.size()).toBeGreaterThan(0);
    await expect.poll(() => redis.type(keys.rosterKeys.position)).toBe('string');
    await spoil();
    const broker = await gateway.startOneBroker();
    await expect.poll(() => broker.roster.size()).toBeGreaterThan(0);
    expect(await redis.type(keys.rosterKeys.gateways)).toBe('hash');
    expect(gateway.logText()).toContain('a key of another type');
  });

  it.each(['meta', 'id', 'wait', 'active', 'delayed', 'prioritized', 'marker', 'stalled', 'limiter', 'events'])(
    'as the key %s of the queue with another type is deleted, and requests are stored and answered',
    async (name) => {
      const key = keys.jobKey(name);
      // together: BullMQ may write the key in between
      const emptied = redis.multi().del(key);
      await (name === 'wait' || name === 'active' ? emptied.set(key, 'x') : emptied.rpush(key, 'x')).exec();
      const { serial, token } = await gateway.enrol(`queue-key-${name}`);
      await expect
        // an answer that is lost takes as long as the device waits for it
        .poll(() => askOnce(gateway.broker, serial, { token, key: 'ec' }).catch(() => undefined), { timeout: 150_000 })
        .toMatchObject({ status: 'accepted' });
    },
  );

  it('as a request that waits in no list does not swallow an equal one', async () => {
    const { serial, token } = await gateway.enrol('in-no-list');
    await gateway.worker.close();
    const first = await connectDevice(gateway.broker, { username: serial, password: token });
    await first.client.publishAsync(requestTopic(serial), '{"key":"ec"}', { qos: 1 });
    await redis.del(keys.jobKey('wait'), keys.jobKey('marker'));
    await first.client.publishAsync(requestTopic(serial), '{"key":"ec"}', { qos: 1 });
    gateway.worker = gateway.startOneWorker();
    expect(await first.next()).toMatchObject({ status: 'accepted' });
    await first.client.endAsync(true);
  });

  it.each(['list', 'text'])('as counters of token attempts, each a %s, lets the right token pass', async (kind) => {
    const { serial, token } = await gateway.enrol(`counters-${kind}`);
    const counters = [
      keys.tokenAttemptsKey(`serial:${serial}`),
      keys.tokenAttemptsKey(`pause:serial ${serial}`),
      keys.tokenAttemptsKey('judging:127.0.0.1'),
      keys.tokenAttemptsKey('wrong:127.0.0.1'),
      keys.attemptedTokenKey(recipientIdOf(serial, hashToken(token))),
    ];
    // what is known of a token is a text
    for (const key of kind === 'list' ? counters : counters.slice(0, -1))
      await (kind === 'list' ? redis.rpush(key, 'x') : redis.set(key, 'x'));
    expect(await askOnce(gateway.broker, serial, { token, key: 'ec' })).toMatchObject({ status: 'accepted' });
  });

  it('as an answer that is sealed to a device but is none ends nothing', async () => {
    const { serial, token } = await gateway.enrolOnRoster('sealed-garbage');
    const device = await connectDevice(gateway.broker, { username: serial, password: token });
    await device.client.subscribeAsync(replyTopic(serial), { qos: 1 });
    const recipientId = recipientIdOf(serial, hashToken(token));
    const { publicKey } = deriveReplyKeys(serial, token);
    const table = await gateway.tableKey();
    for (const answer of [
      { status: 'accepted' },
      { status: 'accepted', credentials: null },
      { status: 'rejected' },
      {},
    ]) {
      const sealed = sealer.answer(publicKey, recipientId, answer as never);
      await redis.publish(
        keys.repliesChannel,
        forms.toStoredReply({ requestId: 'r', requestKey: 'k', recipientId, sealed }, table),
      );
    }
    await device.client.publishAsync(requestTopic(serial), JSON.stringify({ key: 'ec', id: 'mine' }), { qos: 1 });
    let reply = await device.next();
    while (reply.id !== 'mine') reply = await device.next();
    expect(reply).toMatchObject({ status: 'accepted' });
    await device.client.endAsync(true);
  });
});

import { randomBytes, randomUUID } from 'node:crypto';
import { PutItemCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import {
  AttachThingPrincipalCommand,
  CreateKeysAndCertificateCommand,
  CreateThingCommand,
  DescribeCertificateCommand,
} from '@aws-sdk/client-iot';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { ackTopic, replyTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { problems } from '../../protocol/problems.ts';
import { derivePsk } from '../../protocol/psk.ts';
import { hashToken, makeToken } from '../../protocol/token.ts';
import { recipientIdOf } from '../../queue/provisioning-request.ts';
import * as forms from '../../queue/stored-forms.ts';
import * as keys from '../../queue/stored-keys.ts';
import { sealDeviceKeys } from '../../sealing/device-keys.ts';
import { newKeyPair, seal } from '../../sealing/hpke.ts';
import { deriveReplyKeys, deriveReplySeed, openAnswer, sealer } from '../../sealing/replies.ts';
import { makeEcKey, ownerTagOf } from '../../worker/ec-key.ts';
import { askOnce, connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { newGateway } from '../support/trust.ts';

type Captured = { id: string; key: string; name: string; data: Record<string, unknown> };

/**
 * The attacker reads and writes all of Redis, reaches the broker as any device does, and has neither the table nor the data
 * folder. Such an attacker may delay and deny, and nothing else.
 */
describe.skipIf(lacks('redis-server'))('a writer of Redis', () => {
  let gateway: Gateway;
  let redis: Redis;
  let queue: Queue;
  beforeAll(async () => {
    gateway = await startGateway();
    redis = new Redis(gateway.redis.url);
    queue = new Queue(keys.queueName, { connection: { url: gateway.redis.url } as never, prefix: keys.keyPrefix });
  });
  afterAll(async () => {
    await queue?.close();
    await redis?.quit();
    await gateway?.close();
  });
  let count = 0;
  let serial = '';
  let token = '';
  beforeEach(async () => {
    ({ serial, token } = await gateway.enrolOnRoster(`victim-${++count}`));
  });

  const attacker = deriveReplyKeys('attacker', makeToken());
  const recipientId = () => recipientIdOf(serial, hashToken(token));
  const row = () => gateway.registry.find(serial);
  const untouched = { state: 'enrolled', attempt: 0, requestedAt: 0 };
  const idle = () => expect.poll(() => queue.getJobCountByTypes('waiting', 'active', 'delayed', 'prioritized')).toBe(0);
  const stolen = async (requestId: string) => {
    const reply = forms.readStoredReply((await redis.get(keys.replyKey(requestId))) ?? '{}');
    return reply && openAnswer(attacker, recipientId(), reply.sealed);
  };
  const forged = (requestId: string) => ({
    askId: requestId,
    serial,
    tokenHash: hashToken(token),
    replyKey: attacker.publicKey,
    key: 'ec',
    receivedAt: Date.now(),
  });
  /** The jobs of this device that wait: the key of each, and its data. */
  async function jobs(): Promise<Captured[]> {
    const found = (await redis.keys(`${keys.keyPrefix}:${keys.queueName}:*`)).filter((key) => !key.includes(':de:'));
    const hashes = await Promise.all(
      found.map(async (key) =>
        (await redis.type(key)) === 'hash' ? { key, hash: await redis.hgetall(key) } : undefined,
      ),
    );
    return hashes
      .flatMap((each) => (each?.hash.data === undefined ? [] : [each]))
      .map(({ key, hash }) => ({
        id: key.slice(keys.jobKey('').length),
        key,
        name: hash.name ?? '',
        data: JSON.parse(hash.data ?? '{}'),
      }))
      .filter(({ data }) => data.serial === serial);
  }
  /** Has the device publish a message while no worker takes it. @returns the job, and a function that lets a worker run */
  async function capture(publish: (device: Awaited<ReturnType<typeof connectDevice>>) => Promise<unknown>) {
    await gateway.worker.close();
    const device = await connectDevice(gateway.broker, { username: serial, password: token });
    await publish(device);
    const [job] = await jobs();
    if (job === undefined) throw new Error('the queue has no job of this device');
    const resume = () => {
      gateway.worker = gateway.startOneWorker();
    };
    return { device, job, resume };
  }
  const ask = (device: Awaited<ReturnType<typeof connectDevice>>) =>
    device.client.publishAsync(requestTopic(serial), '{"key":"ec"}', { qos: 1 });

  describe('gets no certificate and touches no row', () => {
    it("with a request of its own: the victim's token hash, and a reply key of its own", async () => {
      const requestId = randomUUID();
      await queue.add(keys.requestJob, forged(requestId), { removeOnComplete: true });
      await idle();
      expect(await stolen(requestId)).toBeUndefined();
      expect(await redis.exists(keys.replyKey(requestId))).toBe(0);
      expect(await row()).toMatchObject(untouched);
      expect(await gateway.worker.metricsText()).toContain('cvm_worker_requests_total{outcome="forged"} 1');
      expect(await askOnce(gateway.broker, serial, { token, key: 'ec' })).toMatchObject({ status: 'accepted' });
    });

    it('with such a request for a row that has the five fields of the reference design only', async () => {
      serial = `five-fields-${count}`;
      const five = {
        productId: { S: serial },
        accessToken: { S: hashToken(token) },
        timestamp: { N: '0' },
        applyState: { N: '0' },
        certID: { S: '' },
      };
      await gateway.dynamo.send(new PutItemCommand({ TableName: 'cvm-devices', Item: five }));
      const requestId = randomUUID();
      await queue.add(keys.requestJob, forged(requestId), { removeOnComplete: true });
      await idle();
      expect(await stolen(requestId)).toBeUndefined();
      expect(await row()).toMatchObject(untouched);
      expect(await askOnce(gateway.broker, serial, { token, key: 'ec' })).toMatchObject({ status: 'accepted' });
    });

    it.each([
      ['replyKey', () => attacker.publicKey],
      ['key', () => 'rsa'],
      ['receivedAt', () => Date.now() + 60_000],
      ['remoteAddress', () => '192.0.2.1'],
      ['askId', () => randomUUID()],
    ])('with %s changed in a request that a gateway signed', async (field, value) => {
      const { device, job, resume } = await capture(ask);
      await redis.hset(job.key, 'data', JSON.stringify({ ...job.data, [field]: value() }));
      resume();
      await idle();
      expect(await redis.keys(`${keys.keyPrefix}:answer:*`)).not.toContain(keys.replyKey(job.id));
      expect(await row()).toMatchObject(untouched);
      // once the request is gone, the device is served
      await ask(device);
      expect(await device.next()).toMatchObject({ status: 'accepted' });
      await device.client.endAsync(true);
    });

    it("with keys of its own in the victim's entry of the roster, and a TLS connection with them", async () => {
      const [gatewayKey] = await gateway.gatewayKeys();
      if (gatewayKey === undefined) throw new Error('the gateway is not in the table');
      const [sealedKeys, mine] = [sealDeviceKeys(serial, token, [gatewayKey]), 'any-token-of-the-attacker'];
      // sealed as enrolment seals, but from another token: bound to the serial and to the hash of the right token
      const forgedKeys = sealForeignKeys(serial, hashToken(token), mine, gatewayKey);
      const entry = JSON.parse((await redis.hget(keys.rosterKeys.entries, serial)) ?? '{}');
      expect(Object.keys(entry.sealedKeys)).toEqual(Object.keys(sealedKeys));
      await redis.hset(
        keys.rosterKeys.entries,
        serial,
        JSON.stringify({ ...entry, sealedKeys: { [gatewayKey.id]: forgedKeys } }),
      );
      await redis.publish(keys.rosterKeys.channel, JSON.stringify([serial]));
      await settle();
      const connecting = connectDevice(
        { ...gateway.broker, caPem: '' },
        { pskCallback: () => ({ psk: derivePsk(serial, mine), identity: serial }), ...anyServer },
      );
      await expect(connecting).rejects.toThrow();
      // the device itself is served: an entry that the table did not sign is looked up there
      await expect
        .poll(() => gateway.broker.roster.keysOf(serial)?.keys.psk.toString('hex'))
        .toBe(derivePsk(serial, token).toString('hex'));
    });
  });

  it('gains nothing with a gateway of its own, which signs all that a gateway signs', async () => {
    const own = newGateway();
    await redis.hset(keys.rosterKeys.gateways, own.identity.id, forms.toStoredAnnouncement(own, Date.now()));
    const requestId = randomUUID();
    const { askId: _askId, ...asked } = { ...forged(requestId), key: 'ec' as const };
    await queue.add(keys.requestJob, forms.toStoredRequest({ requestId, ...asked }, own), {
      jobId: requestId,
      removeOnComplete: true,
    });
    await idle();
    expect(await stolen(requestId)).toMatchObject({ status: 'rejected', problem: { code: 'UpstreamUnavailable' } });
    expect(await row()).toMatchObject(untouched);
    const { certificateId = '' } = await askOnce(gateway.broker, serial, { token, key: 'ec' });
    const acknowledgement = { serial, tokenHash: hashToken(token), certificateId };
    const signed = forms.toStoredAcknowledgement(acknowledgement, own);
    await queue.add(keys.acknowledgementJob, signed, { removeOnComplete: true });
    await idle();
    expect((await row())?.deliveredAt).toBeUndefined();
    const device = await gateway.enrol(`sealed-${serial}`);
    const sealed = Object.keys((await gateway.registry.find(device.serial))?.sealedKeys ?? {});
    expect(sealed).toHaveLength(1);
    expect(sealed).not.toContain(own.identity.id);
  });

  it('cannot have a refusal of a gateway of its own told to a device of another gateway', async () => {
    const { device, job, resume } = await capture(ask);
    const [askId, { tokenHash, replyKey }] = [job.id, job.data as Record<string, string>];
    const own = newGateway();
    const same = { requestId: askId, serial, tokenHash: String(tokenHash), replyKey: String(replyKey) };
    const stolenId = forms.toStoredRequest({ ...same, key: 'ec', receivedAt: Date.now() }, own);
    // in the place of the device's own request
    await redis.hset(job.key, 'data', JSON.stringify(stolenId));
    resume();
    await idle();
    // longer than the broker takes to look for answers that it missed
    await settle(2500);
    expect(await redis.get(keys.replyKey(askId))).toContain(own.identity.id);
    expect(device.heard).toEqual([]);
    await ask(device);
    expect(await device.next()).toMatchObject({ status: 'accepted' });
    await device.client.endAsync(true);
  });

  it('cannot have an old answer delivered for a request that asks for another key', async () => {
    const { device, job, resume } = await capture(ask);
    resume();
    expect(await device.next()).toMatchObject({ status: 'accepted' });
    // the answer is there a moment before its job is gone, and with it what is written below
    await idle();
    const askId = job.id;
    const recorded = (await redis.get(keys.replyKey(askId))) ?? '';
    const place = keys.jobKey(`de:one-${recipientIdOf(serial, hashToken(token)).slice(0, 22)}`);
    // BullMQ then stores nothing, and names the old request as the one that waits: for the key that the device asks for now
    await redis.set(place, askId);
    await redis.hset(keys.jobKey(askId), 'name', 'x', 'data', JSON.stringify({ ...job.data, key: 'rsa' }));
    // a request that stands in no list would be stored anew, and answered by a worker
    await redis.zadd(keys.jobKey('completed'), Date.now(), askId);
    await device.client.publishAsync(requestTopic(serial), '{"key":"rsa","id":"two"}', { qos: 1 });
    await redis.publish(keys.repliesChannel, recorded);
    await settle(2500);
    expect(device.heard.filter(({ reply }) => reply.id === 'two')).toEqual([]);
    await redis.del(place, keys.jobKey(askId));
    await redis.zrem(keys.jobKey('completed'), askId);
    await device.client.endAsync(true);
  });

  it('has no key of a device sealed to a gateway of its own', async () => {
    const publicKey = newKeyPair().publicKey.toString('base64url');
    for (const id of ['forged', 'f'.repeat(32)])
      await redis.hset(keys.rosterKeys.gateways, id, JSON.stringify({ id, publicKey, at: Date.now() }));
    await settle();
    const before = (await gateway.gatewayKeys()).map(({ id }) => id);
    const device = await gateway.enrol(`after-${serial}`);
    const sealed = Object.keys((await gateway.registry.find(device.serial))?.sealedKeys ?? {});
    expect(sealed).toEqual(before);
    expect(sealed).toHaveLength(1);
    expect(sealed).not.toContain('forged');
  });

  it('does not end a replay window with an acknowledgement of its own', async () => {
    const first = await askOnce(gateway.broker, serial, { token, key: 'ec' });
    const { certificateId } = first;
    await queue.add(
      keys.acknowledgementJob,
      { serial, tokenHash: hashToken(token), certificateId },
      { removeOnComplete: true },
    );
    await idle();
    expect((await row())?.deliveredAt).toBeUndefined();
    expect(await askOnce(gateway.broker, serial, { token, key: 'ec' })).toMatchObject({
      status: 'accepted',
      certificateId,
    });
  });

  it('cannot have an answer of its own delivered', async () => {
    const { device, job, resume } = await capture(ask);
    const credentials = {
      certificateId: 'a'.repeat(64),
      certificatePem: 'FORGED',
      privateKeyPem: 'FORGED',
      thingName: serial,
      endpoint: 'attacker.example',
      rootCaPem: 'FORGED',
    };
    const { publicKey } = deriveReplyKeys(serial, token);
    const sealed = sealer.answer(publicKey, recipientId(), { status: 'accepted', credentials });
    const requestId = job.id;
    const reply = { requestId, recipientId: recipientId(), sealed, signature: randomBytes(64).toString('base64url') };
    await redis.set(keys.replyKey(requestId), JSON.stringify({ ...reply, askId: requestId, box: recipientId() }));
    await redis.publish(keys.repliesChannel, JSON.stringify({ ...reply, askId: requestId, box: recipientId() }));
    // longer than the broker takes to look for answers that it missed
    await settle(2500);
    expect(device.heard).toEqual([]);
    resume();
    expect(await device.next()).toMatchObject({ status: 'accepted', thingName: serial });
    await device.client.endAsync(true);
  });

  it('cannot have a reply of its own delivered as one that version 0.1.0 kept', async () => {
    const first = await askOnce(gateway.broker, serial, { token, key: 'ec' });
    const { certificateId = '', certificatePem = '', privateKey = '' } = first;
    const kept = (await row())?.keptReply ?? '';
    const remove = { TableName: 'cvm-devices', Key: { productId: { S: serial } } };
    await gateway.dynamo.send(new UpdateItemCommand({ ...remove, UpdateExpression: 'REMOVE keptReply' }));
    const key = keys.earlierReplyKey(recipientId(), certificateId);
    await redis.set(key, kept);
    const again = { ...first, time: expect.any(Number) };
    expect(await askOnce(gateway.broker, serial, { token, key: 'ec' })).toEqual(again);

    // sealed as the real one is: the public half of the reply key is in Redis
    const { publicKey } = deriveReplyKeys(serial, token);
    const own = makeEcKey(serial, ownerTagOf('cvm-devices'));
    const untrue = { thingName: 'other', endpoint: 'attacker.example', rootCaPem: 'FORGED' };
    const credentials = { certificateId, certificatePem, ...untrue };
    const forgeries = [
      sealer.answer(publicKey, recipientId(), {
        status: 'accepted',
        credentials: { ...credentials, privateKeyPem: own.privateKeyPem },
      }),
      sealer.answer(
        publicKey,
        recipientId(),
        { status: 'accepted', credentials },
        sealer.privateKey(publicKey, recipientId(), own.privateKeyPem),
      ),
      sealer.answer(publicKey, recipientId(), { status: 'rejected', problem: problems.blocked }),
      'x'.repeat(60_000),
    ];
    for (const forged of forgeries) {
      await redis.set(key, forged);
      const reply = await askOnce(gateway.broker, serial, { token, key: 'ec' });
      expect(reply).toMatchObject({ status: 'rejected', errorCode: 'InternalFailure' });
    }
    // the real key with what else the attacker wants the device to believe
    await redis.set(
      key,
      sealer.answer(publicKey, recipientId(), {
        status: 'accepted',
        credentials: { ...credentials, privateKeyPem: privateKey },
      }),
    );
    expect(await askOnce(gateway.broker, serial, { token, key: 'ec' })).toEqual(again);
  });

  it('cannot have certificates deleted by pretending that the table was restored, or that others were activated', async () => {
    const { iot } = gateway;
    const other = await iot.send(new CreateKeysAndCertificateCommand({ setAsActive: true }));
    await iot.send(new CreateThingCommand({ thingName: serial }));
    await iot.send(new AttachThingPrincipalCommand({ thingName: serial, principal: other.certificateArn }));
    const signature = randomBytes(64).toString('base64url');
    const position = { change: 1_000_000, wholeAt: Date.now(), signature };
    await redis.set(keys.rosterKeys.position, JSON.stringify(position));
    await redis.hset(keys.seenCertificatesKey, serial, JSON.stringify({ certificateId: 'c'.repeat(64), signature }));
    // the roster is compared with the table, and its position is written anew
    await expect.poll(() => redis.get(keys.rosterKeys.position)).not.toContain('1000000');
    expect(await gateway.asOperator.restoration.latest()).toBeUndefined();
    expect(await askOnce(gateway.broker, serial, { token, key: 'ec' })).toMatchObject({ status: 'accepted' });
    const { certificateDescription } = await iot.send(
      new DescribeCertificateCommand({ certificateId: other.certificateId }),
    );
    expect(certificateDescription?.status).toBe('ACTIVE');
  });

  it.each([
    ['copies of its job', (job: Captured) => ({ ...job, opts: { removeOnComplete: true } })],
    // the signature covers the id, which a job of version 0.1.0 had in its data: it holds, under whatever id the job has
    [
      'jobs of other ids that name the id of the request in their data',
      ({ name, data, id }: Captured) => ({ name, data: { ...data, askId: id }, opts: { removeOnComplete: true } }),
    ],
  ])(
    'cannot have a request worked on many times at once, which would cost calls to AWS without end, by %s',
    async (_what, copyOf) => {
      const { device, job, resume } = await capture(ask);
      await queue.addBulk(Array.from({ length: 50 }, () => copyOf(job)));
      resume();
      expect(await device.next()).toMatchObject({ status: 'accepted', thingName: serial });
      await idle();
      expect(await row()).toMatchObject({ attempt: 1, state: 'registered' });
      const metrics = await gateway.worker.metricsText();
      expect(metrics).toContain('cvm_worker_requests_total{outcome="vended"} 1');
      expect(metrics).not.toMatch(/cvm_worker_requests_total\{outcome="(repeated|busy)"\} [1-9]/);
      await device.client.endAsync(true);
    },
  );

  it('cannot have workers overtake each other all the time, by giving one request to several of them', async () => {
    const { device, job, resume } = await capture(ask);
    const key = `${keys.keyPrefix}:${keys.queueName}:${job.id}`;
    let going = true;
    const again = (async () => {
      while (going) {
        await redis.del(key, `${key}:lock`);
        await queue.add(job.name, job.data, { jobId: job.id, removeOnComplete: true }).catch(() => {});
      }
    })();
    resume();
    expect(await device.next()).toMatchObject({ status: 'accepted', thingName: serial });
    going = false;
    await again;
    expect((await row())?.attempt).toBeLessThan(5);
    // entries of lists without a job
    await queue.obliterate({ force: true });
    await device.client.endAsync(true);
  });

  it('gains nothing with what it has recorded: requests, acknowledgements, answers', async () => {
    const { device, job, resume } = await capture(ask);
    await device.client.subscribeAsync(replyTopic(serial), { qos: 1 });
    resume();
    const { certificateId } = await device.next();
    await idle();
    const recorded = (await redis.get(keys.replyKey(job.id))) ?? '';
    const before = await row();

    // the same request again: the same answer to the same key, and the row as it was
    await queue.add(job.name, job.data, { jobId: job.id, removeOnComplete: true });
    await idle();
    expect(await row()).toEqual(before);

    // the answer again, to the same connection and under another request
    await redis.publish(keys.repliesChannel, recorded);
    await settle();
    expect(device.heard).toEqual([]);
    await device.client.publishAsync(ackTopic(serial), JSON.stringify({ certificateId }), { qos: 1 });
    await expect.poll(async () => (await row())?.deliveredAt).toBeGreaterThan(0);
    const delivered = await row();
    await queue.add(job.name, job.data, { jobId: job.id, removeOnComplete: true });
    await idle();
    expect(await row()).toEqual(delivered);
    await device.client.endAsync(true);

    const second = await capture((other) => ask(other));
    const moved = { ...JSON.parse(recorded), askId: second.job.data.askId };
    await redis.publish(keys.repliesChannel, JSON.stringify(moved));
    await settle();
    expect(second.device.heard).toEqual([]);
    second.resume();
    expect(await second.device.next()).toMatchObject({ errorCode: 'AlreadyProvisioned' });
    await second.device.client.endAsync(true);
  });

  it('who deletes all of it has denied, and no more: the gateway serves again by itself', async () => {
    await redis.flushall();
    const fresh = await gateway.enrolOnRoster(`flushed-${count}`);
    expect(await askOnce(gateway.broker, fresh.serial, { token: fresh.token, key: 'ec' })).toMatchObject({
      status: 'accepted',
    });
  });
});

/** The key authenticates both sides. */
const anyServer = { checkServerIdentity: () => undefined } as object;

const settle = (ms = 500) => new Promise((resolve) => setTimeout(resolve, ms));

/** What `sealDeviceKeys` makes, from another token than the one whose hash it is bound to. */
function sealForeignKeys(serial: string, tokenHash: string, token: string, gateway: { publicKey: string }): string {
  const plain = Buffer.concat([derivePsk(serial, token), deriveReplySeed(serial, token)]);
  const aad = Buffer.from(`${serial}\0${tokenHash}`);
  return seal(
    Buffer.from(gateway.publicKey, 'base64url'),
    Buffer.from('cvm-gateway device keys v1'),
    aad,
    plain,
  ).toString('base64url');
}

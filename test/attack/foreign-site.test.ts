import { randomUUID } from 'node:crypto';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { hashToken, makeToken } from '../../protocol/token.ts';
import { recipientIdOf } from '../../queue/provisioning-request.ts';
import { redisAt } from '../../queue/redis.ts';
import { createRosterFeed } from '../../queue/redis-roster.ts';
import { createRequestQueue } from '../../queue/request-queue.ts';
import * as forms from '../../queue/stored-forms.ts';
import * as keys from '../../queue/stored-keys.ts';
import { createLog } from '../../runtime/log.ts';
import type { OwnGateway } from '../../sealing/gateway.ts';
import { deriveReplyKeys, openAnswer } from '../../sealing/replies.ts';
import { gatewayIdIn, loadGateway } from '../../site-tls/gateway-key.ts';
import { askOnce } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

/**
 * The attacker has a gateway of another site: its broker, its key, all of its Redis. The worker of that site is honest. Even with the token of
 * a device, and all that its row says, the attacker gets nothing for it and changes nothing.
 */
describe.skipIf(lacks('redis-server'))('a gateway of another site', () => {
  let victim: Gateway;
  let attacker: Gateway;
  let key: OwnGateway;
  let queue: ReturnType<typeof createRequestQueue>;
  let feed: ReturnType<typeof createRosterFeed>;
  let redis: Redis;
  const log = createLog('silent');
  beforeAll(async () => {
    victim = await startGateway({ env: { CVM_SITE: 'south' } });
    await vi.waitUntil(async () => (await victim.gateways.known()).length === 1, 45_000);
    attacker = await startGateway({ beside: victim, env: { CVM_SITE: 'north' } });
    await vi.waitUntil(async () => (await victim.gateways.known()).length === 2, 45_000);
    await victim.gateways.approve(gatewayIdIn(attacker.dataDir) ?? '');
    key = await loadGateway(attacker.dataDir);
    queue = createRequestQueue(redisAt(attacker.redis.url), log, key);
    feed = createRosterFeed(redisAt(attacker.redis.url), log);
    redis = new Redis(attacker.redis.url);
  });
  afterAll(async () => {
    await Promise.all([queue?.close(), feed?.close(), redis?.quit()]);
    await attacker?.close();
    await victim?.close();
  });

  let [serial, token, count] = ['', '', 0];
  beforeEach(async () => {
    ({ serial, token } = await victim.enrolOnRoster(`victim-${++count}`, { site: 'south' }));
  });
  const row = () => victim.registry.find(serial);
  const reader = deriveReplyKeys('attacker', makeToken());
  /** A request that the gateway signs itself. @returns what the worker answered */
  async function forge(): Promise<unknown> {
    const [requestId, tokenHash] = [randomUUID(), hashToken(token)];
    const request = {
      requestId,
      serial,
      tokenHash,
      replyKey: reader.publicKey,
      key: 'ec',
      receivedAt: Date.now(),
    } as const;
    await attacker.queueIsEmpty();
    await queue.add(request);
    await expect.poll(() => redis.exists(keys.replyKey(requestId))).toBe(1);
    const reply = forms.readStoredReply((await redis.get(keys.replyKey(requestId))) ?? '{}');
    return reply && openAnswer(reader, recipientIdOf(serial, tokenHash), reply.sealed);
  }
  const unknown = { status: 'rejected', problem: { code: 'InvalidToken' } };

  it('hears the same answer for a device with its right token as for a serial that is not enrolled, and the row stays as it is', async () => {
    const before = await row();
    const refused = await askOnce(attacker.broker, serial, { token, key: 'ec' });
    const nobody = await askOnce(attacker.broker, 'nobody', { token, key: 'ec' });
    expect(refused).toMatchObject({ errorCode: 'InvalidToken' });
    expect(refused).toEqual(nobody);
    expect(await forge()).toMatchObject(unknown);
    expect(await row()).toEqual(before);
  });

  it('gets no kept answer in the replay window, and no other certificate', async () => {
    const { certificateId } = await askOnce(victim.broker, serial, { token, key: 'ec' });
    expect(certificateId).toBeDefined();
    const before = await row();
    expect(await askOnce(attacker.broker, serial, { token, key: 'ec' })).toMatchObject({ errorCode: 'InvalidToken' });
    expect(await forge()).toMatchObject(unknown);
    expect(await row()).toEqual(before);
  });

  it('spends no token: its acknowledgements count for nothing', async () => {
    const { certificateId = '' } = await askOnce(victim.broker, serial, { token, key: 'ec' });
    await queue.acknowledge({ serial, tokenHash: hashToken(token), certificateId });
    // a request after it, which the worker takes after it
    expect(await forge()).toMatchObject(unknown);
    await expect.poll(() => attacker.logText()).toContain(serial);
    expect((await row())?.deliveredAt).toBeUndefined();
    expect(await askOnce(victim.broker, serial, { token, key: 'ec' })).toMatchObject({ certificateId });
  });

  it('is given no entry of the roster, whatever it has looked up, and no key that is sealed to it', async () => {
    const known = await attacker.enrolOnRoster(`own-${count}`, { site: 'north' });
    await feed.requestLookup(serial);
    await feed.requestLookup(known.serial);
    await expect.poll(() => redis.exists(keys.rosterKeys.requestedLookups)).toBe(0);
    await expect.poll(async () => (await feed.read([known.serial])).length).toBe(1);
    expect(await feed.read([serial])).toEqual([]);
    expect(Object.keys((await row())?.sealedKeys ?? {})).not.toContain(key.identity.id);
  });

  it('does not become one of the site by its announcement: keys of later devices are not sealed to it', async () => {
    await feed.announceGateway(key, Date.now() + 120_000);
    // it is noted again
    await expect
      .poll(async () => (await victim.gateways.known()).find(({ id }) => id === key.identity.id))
      .toMatchObject({ site: 'north', state: 'approved' });
    const later = await victim.enrol(`later-${count}`, { site: 'south' });
    const { sealedKeys = {} } = (await victim.registry.find(later.serial)) ?? {};
    expect(Object.keys(sealedKeys)).toEqual([gatewayIdIn(victim.dataDir)]);
  });

  it('gains nothing by the entries of the roster of that site: their keys are sealed to others', async () => {
    const other = new Redis(victim.redis.url);
    const entry = (await other.hget(keys.rosterKeys.entries, serial)) ?? '';
    await other.quit();
    await redis
      .multi()
      .hset(keys.rosterKeys.entries, serial, entry)
      .publish(keys.rosterKeys.channel, JSON.stringify([serial]))
      .exec();
    await expect.poll(() => attacker.broker.roster.matchesToken(serial, hashToken(token))).toBe(true);
    expect(attacker.broker.roster.keysOf(serial)).toBeUndefined();
    expect(await askOnce(attacker.broker, serial, { token, key: 'ec' })).toMatchObject({ errorCode: 'InvalidToken' });
  });
});

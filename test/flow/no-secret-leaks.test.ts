import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { askOnce, type Reply } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

/** What a secret could look like where it must not be: as it is, in base64, in hex, escaped in JSON. */
function disguises(secret: string): string[] {
  const bytes = Buffer.from(secret);
  return [
    secret,
    bytes.toString('base64').replace(/=+$/, ''),
    bytes.toString('base64url'),
    bytes.toString('hex'),
    JSON.stringify(secret).slice(1, -1),
  ];
}

/** The body of a PEM key, and its lines, since a log may break or join them. */
function keyForms(pem: string): string[] {
  const lines = pem.split('\n').filter((line) => line !== '' && !line.startsWith('-----'));
  // the first line of a PKCS key is the same for all keys of its kind; the others are the secret
  return [lines.join(''), ...lines.slice(1).filter((line) => line.length > 20)];
}

function* filesBelow(folder: string): Iterable<string> {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) yield* filesBelow(path);
    else yield path;
  }
}

async function everythingInRedis(url: string): Promise<Buffer[]> {
  const redis = new Redis(url);
  const found: Buffer[] = [];
  for await (const keys of redis.scanStream() as AsyncIterable<string[]>) {
    for (const key of keys) found.push(Buffer.from(key), Buffer.from(JSON.stringify(await contentOf(redis, key))));
  }
  await redis.quit();
  return found;
}

async function contentOf(redis: Redis, key: string): Promise<unknown> {
  const type = await redis.type(key);
  if (type === 'string') return redis.get(key);
  if (type === 'hash') return redis.hgetall(key);
  if (type === 'list') return redis.lrange(key, 0, -1);
  if (type === 'set') return redis.smembers(key);
  if (type === 'zset') return redis.zrange(key, '0', '-1');
  return redis.xrange(key, '-', '+');
}

describe.skipIf(lacks('redis-server'))('a token or private key is nowhere in clear', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway({ logLevel: 'trace' });
  });
  afterAll(() => gateway?.close());

  it('not in logs at trace, not in Redis or its append-only file, not in the table, not in the data folder', async () => {
    const secrets: string[] = [];
    const use = async (serial: string, request: object, connect: { username?: string; password?: string } = {}) => {
      const { token } = await gateway.enrol(serial);
      const password = connect.username === undefined ? {} : { username: serial, password: token };
      const reply: Reply = await askOnce(
        gateway.broker,
        serial,
        { ...(connect.username === undefined ? { token } : {}), ...request },
        password,
      );
      secrets.push(...disguises(token), ...(reply.privateKey ? keyForms(reply.privateKey) : []));
      return reply;
    };
    expect(await use('leak-rsa', {})).toMatchObject({ status: 'accepted' });
    expect(await use('leak-ec', { key: 'ec' })).toMatchObject({ status: 'accepted' });
    expect(await use('leak-password', { key: 'ec' }, { username: 'x' })).toMatchObject({ status: 'accepted' });
    expect(await use('leak-bad-request', { key: 'dsa' })).toMatchObject({ errorCode: 'InvalidRequest' });
    const guess = 'a-guess-that-is-wrong-0123456789';
    secrets.push(...disguises(guess));
    expect(await askOnce(gateway.broker, 'leak-rsa', { token: guess })).toMatchObject({ errorCode: 'InvalidToken' });
    gateway.aws.faults.set([{ operation: 'CreateCertificateFromCsr', kind: 'fail-before', times: 2 }]);
    expect(await use('leak-after-failure', { key: 'ec' })).toMatchObject({ status: 'accepted' });

    expect(secrets.length).toBeGreaterThan(30);
    const places: [string, Buffer][] = [
      ['log', Buffer.from(gateway.logText())],
      ...(await everythingInRedis(gateway.redis.url)).map((content): [string, Buffer] => ['Redis', content]),
    ];
    for (const file of filesBelow(gateway.dataDir)) places.push([file, readFileSync(file)]);
    expect(places.length).toBeGreaterThan(20);
    const leaks = places
      .filter(([, content]) => secrets.some((secret) => content.includes(secret)))
      .map(([place]) => place);
    expect(leaks).toEqual([]);
  });
});

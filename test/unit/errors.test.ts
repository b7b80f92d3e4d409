import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { DynamoDBClient, GetItemCommand } from '@aws-sdk/client-dynamodb';
import { UnrecoverableError } from 'bullmq';
import { Command } from 'commander';
import { Redis } from 'ioredis';
import mqtt from 'mqtt';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { describeError, errorText, systemCure } from '../../runtime/errors.ts';
import { createLog } from '../../runtime/log.ts';
import { UpstreamRefused } from '../../runtime/upstream.ts';

const secret = 'canary-7d01';

/** What `run` throws. */
async function thrownBy(run: () => unknown): Promise<unknown> {
  try {
    await run();
  } catch (error) {
    return error;
  }
  throw new Error('it did not throw');
}

/** The line that the log has of an error. */
function lineOf(err: unknown): string {
  let line = '';
  const write = (text: string) => {
    line = text;
  };
  createLog('error', { write }).error({ err }, 'it failed');
  return line;
}

async function withServer<T>(answer: (path: string) => [number, string, string], use: (port: number) => Promise<T>) {
  const server = createServer((request, response) => {
    const [status, type, body] = answer(request.url ?? '');
    response.writeHead(status, { 'x-amzn-requestid': 'r-1', 'x-amzn-errortype': type, 'x-secret': secret }).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  try {
    return await use((server.address() as AddressInfo).port);
  } finally {
    server.closeAllConnections();
    server.close();
  }
}

const dynamo = (port: number, credentials?: { accessKeyId: string; secretAccessKey: string }) =>
  new DynamoDBClient({
    region: 'us-east-1',
    endpoint: `http://127.0.0.1:${port}`,
    maxAttempts: 1,
    credentials:
      credentials ??
      (() => Promise.reject(Object.assign(new Error('no source'), { name: 'CredentialsProviderError' }))),
  });
const getItem = new GetItemCommand({ TableName: 'cvm-devices', Key: { productId: { S: secret } } });
const keys = { accessKeyId: 'id', secretAccessKey: secret };

describe('what is printed of an error', () => {
  it.each<[string, () => unknown, RegExp]>([
    ['node: a file', () => readFileSync('/does/not/exist'), /ENOENT: .*\/does\/not\/exist/],
    [
      'node: a connection that is refused',
      () => new Promise((_resolve, reject) => connect(1, '127.0.0.1').on('error', reject)),
      /connect ECONNREFUSED 127.0.0.1:1/,
    ],
    [
      'node: all addresses of a name are refused',
      () => new Promise((_resolve, reject) => connect({ port: 1, host: 'localhost' }).on('error', reject)),
      /ECONNREFUSED/,
    ],
    ['node: fetch, which hides the reason', () => fetch('http://127.0.0.1:2/'), /fetch failed: .*ECONNREFUSED/],
    [
      'node: several errors',
      () => Promise.any([Promise.reject(new Error('one')), Promise.reject(new Error('two'))]),
      /All promises were rejected|one; two/,
    ],
    [
      'ioredis: too many tries',
      () => {
        const redis = new Redis(1, '127.0.0.1', { maxRetriesPerRequest: 0 });
        redis.on('error', () => {});
        return redis.set('key', secret).finally(() => redis.disconnect());
      },
      /max retries per request/,
    ],
    [
      'ioredis: a connection that is closed',
      () => {
        const redis = new Redis(1, '127.0.0.1', { enableOfflineQueue: false });
        redis.on('error', () => {});
        return redis.set('key', secret).finally(() => redis.disconnect());
      },
      /Stream isn't writeable/,
    ],
    ['BullMQ', () => Promise.reject(new UnrecoverableError('no more tries')), /no more tries/],
    [
      'AWS: a refusal',
      () =>
        withServer(
          () => [400, 'ResourceNotFoundException', '{"message":"no table"}'],
          (port) => dynamo(port, keys).send(getItem),
        ),
      /no table/,
    ],
    [
      'AWS: an answer that is no JSON',
      () =>
        withServer(
          () => [500, '', `<html>${secret}`],
          (port) => dynamo(port, keys).send(getItem),
        ),
      /not valid JSON/,
    ],
    ['AWS: no credentials', () => dynamo(1).send(getItem), /no source/],
    ['AWS: away', () => dynamo(1, keys).send(getItem), /ECONNREFUSED/],
    [
      'MQTT.js: a connection that is refused',
      () =>
        new Promise((_resolve, reject) => {
          const client = mqtt.connect('mqtt://127.0.0.1:1', { reconnectPeriod: 0, password: secret, username: 'u' });
          client.on('error', (error) => {
            client.end(true);
            reject(error);
          });
        }),
      /ECONNREFUSED/,
    ],
    ['zod', () => z.object({ port: z.number() }).parse({ port: secret }), /expected number/],
    [
      'commander',
      () =>
        new Command('x')
          .exitOverride()
          .configureOutput({ writeErr() {} })
          .argument('<serial>')
          .parse([], { from: 'user' }),
      /missing required argument/,
    ],
    [
      'ours',
      () => Promise.reject(new UpstreamRefused('iot:CreateThing', new Error('no'), 'allow it')),
      /iot:CreateThing.*no/,
    ],
    ['a string', () => Promise.reject('READONLY'), /^READONLY$/],
    ['null', () => Promise.reject(null), /^null$/],
    ['undefined', () => Promise.reject(undefined), /^undefined$/],
    ['an object', () => Promise.reject({ token: secret }), /^Object without a message$/],
    ['an object with a code alone', () => Promise.reject({ code: 'EPIPE', token: secret }), /^EPIPE$/],
    [
      'an object without a prototype',
      () => Promise.reject(Object.assign(Object.create(null), { token: secret })),
      /^object without/,
    ],
  ])('is one line with its reason, and nothing secret: %s', async (_what, run, text) => {
    const error = await thrownBy(run);
    expect(errorText(error)).toMatch(text);
    expect(errorText(error)).not.toMatch(/\n|\[object Object\]/);
    const line = lineOf(error);
    expect(line).not.toContain('[object Object]');
    expect(line).not.toContain(secret);
    if (error !== undefined) expect(JSON.parse(line).err).toBeTruthy();
  });

  it('has the number of an answer of AWS, by which its support finds the call, and no header', async () => {
    const error = await thrownBy(() =>
      withServer(
        () => [400, 'AccessDeniedException', '{"message":"not you"}'],
        (port) => dynamo(port, keys).send(getItem),
      ),
    );
    expect(describeError(error)).toEqual({
      name: 'AccessDeniedException',
      message: 'not you',
      status: 400,
      requestId: 'r-1',
    });
  });

  it('has a stack for a fault of the program, and none for what the world did', async () => {
    expect(describeError(new TypeError('x')).stack).toContain('errors.test.ts');
    expect(describeError(await thrownBy(() => readFileSync('/does/not/exist'))).stack).toBeUndefined();
  });

  it.each<[string, object]>([
    ['is not connected yet', { enableOfflineQueue: false }],
    ['gives no answer in time', { commandTimeout: 20, retryStrategy: () => 1000 }],
  ])('has no stack where Redis %s', async (_what, options) => {
    const redis = new Redis(1, '127.0.0.1', options);
    redis.on('error', () => {});
    const error = await thrownBy(() => redis.set('key', secret).finally(() => redis.disconnect()));
    expect(describeError(error)).toEqual({ name: 'Error', message: expect.stringMatching(/writeable|timed out/) });
  });

  it('has no argument of a command that Redis does not know, since HELLO has the password', () => {
    const error = new Error(`ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'default' '${secret}'`);
    expect(errorText(error)).toMatch(/unknown command 'HELLO', with args beginning with: …/);
    expect(lineOf(error)).not.toContain(secret);
  });

  it('has an end, also of an error that is its own cause, and of one that cannot be read', () => {
    const circle: Error & { cause?: unknown } = new Error('round');
    circle.cause = circle;
    expect(errorText(circle)).toBe('round');
    expect(lineOf(circle).length).toBeLessThan(20_000);
    const unreadable = new Proxy(new Error('x'), {
      get() {
        throw new Error('no');
      },
    });
    expect(describeError(unreadable)).toEqual({ message: 'an error that cannot be read' });
    expect(errorText(new Error('x'.repeat(100_000))).length).toBeLessThan(3000);
  });

  it.each(['ENOSPC', 'EROFS', 'EACCES', 'EADDRINUSE', 'EISDIR', 'EMFILE'])('has a cure for %s', (code) => {
    expect(systemCure(Object.assign(new Error('x'), { code }))).toMatch(/: /);
    expect(systemCure(new Error('IO error: /data/x: No space left on device'))).toContain('free space');
    expect(systemCure(new Error('x'))).toBeUndefined();
  });
});

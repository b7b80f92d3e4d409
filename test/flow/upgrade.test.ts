import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DynamoDBClient, GetItemCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { Redis } from 'ioredis';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { setUpAws } from '../../app/aws-setup.ts';
import { type AwsLocal, startAwsLocal } from '../../aws-local/main.ts';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../runtime/embedded-redis.ts';
import { createLog } from '../../runtime/log.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { askOnce } from '../support/device.ts';
import { earlierCvm, hasEarlierRelease } from '../support/earlier-release.ts';
import { lacks } from '../support/lacks.ts';
import { cvm, devicePortOf, enrolDevices, programRuns } from '../support/program.ts';

const log = createLog('silent');

describe.skipIf(lacks('redis-server') || !hasEarlierRelease())('a site of the release before', () => {
  let earlier: string;
  let folder: string;
  let aws: AwsLocal;
  let server: EmbeddedRedis;
  let access: { region: string; endpoint: string; credentials: { accessKeyId: string; secretAccessKey: string } };
  const runs = programRuns();
  beforeAll(() => {
    earlier = earlierCvm();
  }, 300_000);
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-upgrade-'));
    const cloud = join(folder, 'cloud');
    aws = await startAwsLocal({ dataDir: cloud, httpPort: 0, mqttPort: 0, quotas: 'off', log });
    server = await startEmbeddedRedis({ dataDir: join(folder, 'redis'), log });
    access = { region: 'us-east-1', endpoint: aws.httpUrl, credentials: { accessKeyId: 'a', secretAccessKey: 'b' } };
    await setUpAws({ ...loadSettings({}), aws: access });
  });
  afterEach(async () => {
    await runs.end();
    await server?.close();
    await aws?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const env = (program: string) => ({
    PATH: process.env.PATH ?? '',
    HOME: folder,
    AWS_REGION: 'us-east-1',
    AWS_ACCESS_KEY_ID: 'test',
    AWS_SECRET_ACCESS_KEY: 'test',
    AWS_ENDPOINT_URL_IOT: aws.httpUrl,
    AWS_ENDPOINT_URL_DYNAMODB: aws.httpUrl,
    CVM_ROOT_CA: aws.rootCaFile,
    CVM_DATA_DIR: join(folder, 'data'),
    CVM_HOSTNAMES: 'localhost',
    CVM_LISTEN: '127.0.0.1',
    CVM_MQTT_PORT: '0',
    REDIS_URL: server.url,
    // settings that the release before does not have
    ...(program === cvm
      ? { CVM_CONSOLE_PORT: '0', CVM_BROKER_METRICS_PORT: 'off', CVM_WORKER_METRICS_PORT: 'off', LOG_FORMAT: 'json' }
      : {}),
  });
  /** `cvm up`. @returns the port for devices */
  const start = (program: string) => devicePortOf(runs.start(['up'], env(program), { program }));
  const enrol = (program: string, ...serials: string[]) => enrolDevices(serials, env(program), { program });
  const ask = (port: number, serial: string, tokenOf: (serial: string) => string) => {
    const caPem = readFileSync(join(folder, 'data', 'tls', 'site-ca.crt'), 'utf8');
    return askOnce({ port, caPem }, serial, { token: tokenOf(serial), key: 'ec' });
  };

  it('goes on with this release, table, Redis and data folder as they are, and back again', async () => {
    const before = await start(earlier);
    const tokens = await enrol(earlier, 'vended', 'enrolled', 'later');
    const first = await ask(before, 'vended', tokens);
    expect(first).toMatchObject({ status: 'accepted' });
    await runs.end();

    const now = await start(cvm);
    // a reply that the release before has kept is sealed in another way: its device gets another certificate in place of the one before
    const renewed = await ask(now, 'vended', tokens);
    expect(renewed).toMatchObject({ status: 'accepted' });
    expect(await ask(now, 'vended', tokens)).toMatchObject({ certificateId: renewed.certificateId });
    expect(await ask(now, 'enrolled', tokens)).toMatchObject({ status: 'accepted' });
    const redis = new Redis(server.url);
    expect(JSON.parse((await redis.get('{cvm}:format')) ?? '')).toMatchObject({ format: 1 });
    redis.disconnect();
    const dynamo = new DynamoDBClient(access);
    const key = { TableName: 'cvm-devices', Key: { productId: { S: '#format' } } };
    expect((await dynamo.send(new GetItemCommand(key))).Item).toMatchObject({ tableFormat: { N: '1' } });
    dynamo.destroy();
    expect(JSON.parse(readFileSync(join(folder, 'data', 'format.json'), 'utf8'))).toMatchObject({ format: 1 });
    const again = await enrol(cvm, 'new');
    await runs.end();

    const back = await start(earlier);
    expect(await ask(back, 'later', tokens)).toMatchObject({ status: 'accepted' });
    expect(await ask(back, 'new', again)).toMatchObject({ status: 'accepted' });
  });

  it('whose Redis a later version has changed is left alone: the part ends, and says what to run', async () => {
    const redis = new Redis(server.url);
    await redis.set('{cvm}:format', '{"format":2,"by":"9.0.0"}');
    redis.disconnect();
    await expect(start(cvm)).rejects.toThrow(
      /the Redis at .* has format 2, by cvm 9\.0\.0.*\n.*run cvm 9\.0\.0 or newer/,
    );
  });

  it('whose table a later version has changed is left alone: the part ends, and says what to run', async () => {
    const dynamo = new DynamoDBClient(access);
    await dynamo.send(
      new UpdateItemCommand({
        TableName: 'cvm-devices',
        Key: { productId: { S: '#format' } },
        UpdateExpression: 'SET tableFormat = :f, formatBy = :b',
        ExpressionAttributeValues: { ':f': { N: '2' }, ':b': { S: '9.0.0' } },
      }),
    );
    dynamo.destroy();
    await expect(start(cvm)).rejects.toThrow(
      /the table cvm-devices has format 2, by cvm 9\.0\.0.*\n.*run cvm 9\.0\.0 or newer/,
    );
  });
});

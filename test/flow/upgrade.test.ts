import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { DynamoDBClient, GetItemCommand, ScanCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { DescribeCertificateCommand, IoTClient, ListThingPrincipalsCommand } from '@aws-sdk/client-iot';
import { encode } from 'cborg';
import { Redis } from 'ioredis';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { setUpAws } from '../../app/aws-setup.ts';
import { type AwsLocal, startAwsLocal } from '../../aws-local/main.ts';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import { derivePsk } from '../../protocol/psk.ts';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../runtime/embedded-redis.ts';
import { createLog } from '../../runtime/log.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { csrsOfOneKey } from '../support/csr.ts';
import { askOnce, connectDevice, type Reply } from '../support/device.ts';
import { earlierCvm, hasEarlierRelease } from '../support/earlier-release.ts';
import { lacks } from '../support/lacks.ts';
import { cvm, devicePortOf, enrolDevices, onStandIn, programRuns } from '../support/program.ts';
import { sampled } from '../support/size.ts';

const execute = promisify(execFile);
/** The time in a reply is that of its sending. */
const sameAs = (reply: Reply | undefined) => ({ ...reply, time: expect.any(Number) });
const log = createLog('silent');

/** Tries until it succeeds. */
const oncePossible = <T>(work: () => Promise<T>): Promise<T> => vi.waitFor(work, { timeout: 45_000, interval: 500 });

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
    ...onStandIn(aws),
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
  /** `cvm up`, or another part. @returns the port for devices */
  const start = (program: string, part = 'up') => devicePortOf(runs.start(part.split(' '), env(program), { program }));
  /** All that the table has. */
  async function rows() {
    const dynamo = new DynamoDBClient(access);
    const { Items = [] } = await dynamo.send(new ScanCommand({ TableName: 'cvm-devices' }));
    dynamo.destroy();
    return new Map(Items.map((item) => [item.productId?.S, item]));
  }
  const enrol = (program: string, ...serials: string[]) => enrolDevices(serials, env(program), { program });
  const ask = (
    port: number,
    serial: string,
    tokenOf: (serial: string) => string,
    how: object = { key: 'ec' },
    cbor = false,
  ) => {
    const caPem = readFileSync(join(folder, 'data', 'tls', 'site-ca.crt'), 'utf8');
    const request = { token: tokenOf(serial), ...how };
    return askOnce({ port, caPem }, serial, cbor ? Buffer.from(encode(request)) : request);
  };
  /** With the token as TLS pre-shared key, which works when the broker knows the device. */
  async function askByKey(port: number, { serial, token }: { serial: string; token: string }): Promise<Reply> {
    const psk = derivePsk(serial, token);
    const options = {
      pskCallback: () => ({ psk, identity: serial }),
      checkServerIdentity: () => undefined,
      ciphers: 'TLS_AES_128_GCM_SHA256',
    };
    const device = await connectDevice({ port, caPem: '' }, options);
    await device.client.publishAsync(requestTopic(serial), '{"key":"ec"}', { qos: 1 });
    return device.next().finally(() => device.client.endAsync(true));
  }
  /** A device whose key is sealed to the gateway. It fails before the table knows the gateway. */
  async function enrolWithKey(program: string): Promise<{ serial: string; token: string }> {
    const serial = `by-key-${Date.now()}`;
    const token = (await enrol(program, serial))(serial);
    const dynamo = new DynamoDBClient(access);
    const { Item } = await dynamo.send(
      new GetItemCommand({ TableName: 'cvm-devices', Key: { productId: { S: serial } } }),
    );
    dynamo.destroy();
    expect(Object.keys(Item?.sealedKeys?.M ?? {})).toHaveLength(1);
    return { serial, token };
  }
  /** The certificates of a device's thing that work. */
  async function activeOf(serial: string): Promise<string[]> {
    const iot = new IoTClient(access);
    const { principals = [] } = await iot.send(new ListThingPrincipalsCommand({ thingName: serial }));
    const ids = principals.map((arn) => arn.slice(arn.lastIndexOf('/') + 1));
    const found = await Promise.all(
      ids.map((certificateId) => iot.send(new DescribeCertificateCommand({ certificateId }))),
    );
    iot.destroy();
    return ids.filter((_id, index) => found[index]?.certificateDescription?.status === 'ACTIVE');
  }

  it('goes on with this release, table, Redis and data folder as they are, and back again', async () => {
    const before = await start(earlier);
    const tokens = await enrol(earlier, 'vended', 'enrolled', 'later');
    const first = await ask(before, 'vended', tokens);
    expect(first).toMatchObject({ status: 'accepted' });
    await runs.end();

    const now = await start(cvm);
    expect(await ask(now, 'vended', tokens)).toEqual(sameAs(first));
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
    expect(await ask(back, 'vended', tokens)).toEqual(sameAs(first));
    expect(await ask(back, 'later', tokens)).toMatchObject({ status: 'accepted' });
    expect(await ask(back, 'new', again)).toMatchObject({ status: 'accepted' });
  });

  it('gives a device that asks again the same certificate and the same private key, in every form', async () => {
    const [csr = ''] = await csrsOfOneKey('csr', 1);
    const ways: [string, object][] = [
      ['csr', { csr }],
      ['ec', { key: 'ec' }],
      ['rsa', { key: 'rsa' }],
    ];
    const before = await start(earlier);
    const tokens = await enrol(earlier, ...ways.map(([way]) => way));
    const forms = ways.flatMap(([way, how]) => [
      { way, how, cbor: false },
      { way, how: { ...how, format: 'der' }, cbor: true },
    ]);
    const first = [];
    for (const { way, how, cbor } of forms) {
      first.push(await ask(before, way, tokens, how, cbor));
      expect(first.at(-1)).toMatchObject({ status: 'accepted' });
    }
    await runs.end();

    const now = await start(cvm);
    for (const [index, { way, how, cbor }] of forms.entries())
      expect(await ask(now, way, tokens, how, cbor), `${way} ${cbor}`).toEqual(sameAs(first[index]));
    for (const [way] of ways) expect(await activeOf(way)).toHaveLength(1);
    expect(await ask(now, 'csr', tokens, { key: 'ec' })).toMatchObject({ errorCode: 'KeyMismatch' });
  });

  it('and gives it to one that shows a pre-shared key as well', async () => {
    const before = await start(earlier);
    const byKey = await oncePossible(() => enrolWithKey(earlier));
    const first = await oncePossible(() => askByKey(before, byKey));
    expect(first).toMatchObject({ status: 'accepted' });
    await runs.end();
    // an earlier worker that has ended keeps the others from the roster for a minute more
    const redis = new Redis(server.url);
    await redis.del('{cvm}:roster:leader');
    redis.disconnect();
    const now = await start(cvm);
    expect(await oncePossible(() => askByKey(now, byKey))).toEqual(sameAs(first));
  });

  it('has no way back for what this release has vended: the release before knows nothing of these certificates', async () => {
    const now = await start(cvm);
    const tokens = await enrol(cvm, 'vended');
    const first = await ask(now, 'vended', tokens);
    await runs.end();
    const back = await start(earlier);
    const second = await ask(back, 'vended', tokens);
    // as docs/operations.md says; it has no format that would stop it
    expect((await activeOf('vended')).sort()).toEqual([first.certificateId, second.certificateId].sort());
  });

  it('whose Redis a later version has changed is left alone: every part ends, and says what to run', async () => {
    const redis = new Redis(server.url);
    await redis.set('{cvm}:format', '{"format":2,"by":"9.0.0"}');
    redis.disconnect();
    for (const part of sampled(['up', 'broker', 'worker', 'console', 'broker --processes 2']))
      await expect(start(cvm, part), part).rejects.toThrow(
        /run cvm 9\.0\.0 or newer.*\n.*the Redis at .* has format 2, by cvm 9\.0\.0/,
      );
  });

  it('whose table a later version has changed is left alone: parts end, commands write nothing, and each says what to run', async () => {
    await enrol(cvm, 'enrolled');
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
    const refusal = /run cvm 9\.0\.0 or newer.*\n.*the table cvm-devices has format 2, by cvm 9\.0\.0/;
    for (const part of sampled(['up', 'worker', 'console']))
      await expect(start(cvm, part), part).rejects.toThrow(refusal);
    const before = await rows();
    for (const command of sampled([
      'devices add another',
      'devices block enrolled',
      'devices reissue enrolled',
      'devices remove enrolled',
      'sweep',
      'aws table-restored',
    ]))
      await expect(
        execute(process.execPath, [cvm, ...command.split(' ')], { env: env(cvm) }),
        command,
      ).rejects.toMatchObject({
        code: 1,
        stderr: expect.stringMatching(refusal),
      });
    expect(await rows()).toEqual(before);
    // who only reads may look
    await expect(execute(process.execPath, [cvm, 'devices', 'list'], { env: env(cvm) })).resolves.toBeDefined();
  });
});

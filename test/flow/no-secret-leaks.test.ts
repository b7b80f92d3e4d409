import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { encode } from 'cborg';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { devicesCommand } from '../../cli/devices.ts';
import { makeDeviceKey } from '../../gateway-sim/device-key.ts';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import { derivePsk } from '../../protocol/psk.ts';
import { deriveReplySeed } from '../../sealing/replies.ts';
import { askOnce, connectDevice, type Reply } from '../support/device.ts';
import {
  connectFleetDevice,
  create,
  createFromCsr,
  fleetTemplate,
  provision,
  templateFolder,
} from '../support/fleet-device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { noTakeover } from '../support/operator.ts';

/** The forms in which a secret could appear: plain, base64, hex, JSON-escaped. */
function disguises(secret: string | Buffer): (string | Buffer)[] {
  const bytes = Buffer.from(secret);
  return [
    bytes,
    bytes.toString('base64').replace(/=+$/, ''),
    bytes.toString('base64url'),
    bytes.toString('hex'),
    bytes.toString('hex').toUpperCase(),
    JSON.stringify([...bytes]).slice(1, -1),
    ...(typeof secret === 'string' ? [JSON.stringify(secret).slice(1, -1)] : []),
  ];
}

/** The body of a PEM key, and each line, since a log may split or join lines. */
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
  const templates = templateFolder({ plain: fleetTemplate() });
  beforeAll(async () => {
    gateway = await startGateway({ logLevel: 'trace', env: { CVM_TEMPLATES_DIR: templates.folder } });
  });
  afterAll(async () => {
    await gateway?.close();
    templates.remove();
  });

  it('not in logs at trace, not in Redis or its append-only file, not in the table, not in the data folder', async () => {
    const secrets: (string | Buffer)[] = [];
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
    expect(await leaksOf(secrets)).toEqual([]);
    // metrics say how many, and never of whom
    const metrics = await metricsText();
    expect(metrics).toContain('cvm_broker_messages_received_total{kind="request"} 5');
    expect(metrics).toContain('cvm_worker_requests_total{outcome="vended"} 4');
    expect(metrics).toMatch(/cvm_aws_call_seconds_count\{operation="iot:CreateKeysAndCertificate",outcome="done"\} 1/);
    expect(metrics).toContain('operation="dynamodb:UpdateItem"');
    expect(metrics).not.toContain('leak-');
  });

  it('not the keys that are derived from a token, and not a reissued token', async () => {
    await expect.poll(gateway.gatewayKeys).not.toEqual([]);
    const [line = ''] = await devices('add', 'leak-psk', '--json');
    const first = tokenOf(line);
    const [again = ''] = await devices('reissue', 'leak-psk', '--json');
    const token = tokenOf(again);
    const secrets = [first, token].flatMap((each) => [
      ...disguises(each),
      ...disguises(derivePsk('leak-psk', each)),
      ...disguises(deriveReplySeed('leak-psk', each)),
    ]);
    await expect
      .poll(() => gateway.broker.roster.keysOf('leak-psk')?.keys.psk.equals(derivePsk('leak-psk', token)))
      .toBe(true);
    const connectWithKey = (psk: Buffer) =>
      connectDevice(
        { ...gateway.broker, caPem: '' },
        { pskCallback: () => ({ psk, identity: 'leak-psk' }), ...({ checkServerIdentity: () => undefined } as object) },
      );
    const device = await connectWithKey(derivePsk('leak-psk', token));
    await device.client.publishAsync(requestTopic('leak-psk'), '{"key":"ec"}', { qos: 1 });
    const reply = await device.next();
    expect(reply).toMatchObject({ status: 'accepted' });
    secrets.push(...keyForms(reply.privateKey ?? ''));
    await device.client.endAsync(true);
    // of the earlier token
    await expect(connectWithKey(derivePsk('leak-psk', first))).rejects.toThrow();
    expect(await leaksOf(secrets)).toEqual([]);
  });

  it("not in the operator's output, except a new token once", async () => {
    const folder = mkdtempSync(join(tmpdir(), 'cvm-leaks-'));
    const file = join(folder, 'devices.csv');
    const given = 'a-token-that-the-device-has-already';
    writeFileSync(file, `serial,token\nleak-import-1,\nleak-import-2,${given}\n`);
    const added = await devices('add', 'leak-add', '--json');
    const reissued = await devices('reissue', 'leak-add', '--json');
    const imported = await devices('import', file, '--json');
    const made = readFileSync(`${file}.tokens.csv`, 'utf8');
    rmSync(folder, { recursive: true });
    const importedToken = /^leak-import-1,(\S+)$/m.exec(made)?.[1] ?? '';
    const tokens = [tokenOf(added.join()), tokenOf(reissued.join()), importedToken, given];
    expect(tokens.every((token) => token.length > 20)).toBe(true);
    const serials = ['leak-add', 'leak-add', 'leak-import-1', 'leak-import-2'];
    const secrets = tokens.flatMap((token, index) => [
      ...disguises(token),
      ...disguises(derivePsk(serials[index] ?? '', token)),
      ...disguises(deriveReplySeed(serials[index] ?? '', token)),
    ]);
    expect(await askOnce(gateway.broker, 'leak-add', { token: tokens[1], key: 'ec' })).toMatchObject({
      status: 'accepted',
    });
    const shown = [...imported, ...(await devices('list')), ...(await devices('list', '--json'))];
    for (const serial of new Set(serials))
      shown.push(...(await devices('show', serial)), ...(await devices('show', serial, '--json')));
    for (const command of ['block', 'unblock']) shown.push(...(await devices(command, 'leak-add')));
    expect(shown.length).toBeGreaterThan(20);
    expect(shown.filter((each) => secrets.some((secret) => each.includes(String(secret))))).toEqual([]);
    // neither token hashes nor sealed keys
    expect(shown.join()).not.toMatch(/sha256:|sealed/i);
    expect(await leaksOf(secrets)).toEqual([]);
  });

  it('not in a job that failed: not in its data or its reason, and no stack trace is kept', async () => {
    const { token } = await gateway.enrol('leak-job');
    gateway.aws.faults.set([
      { operation: 'CreateCertificateFromCsr', kind: 'fail-before' },
      { operation: 'CreateKeysAndCertificate', kind: 'fail-before' },
    ]);
    const asking = askOnce(gateway.broker, 'leak-job', { token, key: 'ec' });
    // the reply may come without being read
    asking.catch(() => {});
    const job = async () =>
      (await everythingInRedis(gateway.redis.url))
        .map(String)
        .find((each) => each.includes('leak-job') && each.includes('stacktrace')) ?? '';
    await expect.poll(job).toContain('failedReason');
    expect(JSON.parse(await job())).toMatchObject({
      data: expect.stringContaining('leak-job'),
      failedReason: expect.stringMatching(/./),
      stacktrace: '[]',
    });
    expect(await leaksOf(disguises(token))).toEqual([]);
    gateway.aws.faults.set([]);
    const reply = await asking;
    expect(reply).toMatchObject({ status: 'accepted' });
    expect(await leaksOf([...disguises(token), ...keyForms(reply.privateKey ?? '')])).toEqual([]);
  });

  it('not while requests and registrations wait in Redis, nor afterwards: in each version, dialect, encoding and proof', async () => {
    const secrets: (string | Buffer)[] = [];
    const enrol = async (name: string) => {
      const { serial, token } = await gateway.enrolOnRoster(`leak-${name}`);
      secrets.push(...[token, derivePsk(serial, token), deriveReplySeed(serial, token)].flatMap(disguises));
      const psk = { psk: derivePsk(serial, token), identity: serial };
      const byKey = { pskCallback: () => psk, ...({ checkServerIdentity: () => undefined } as object) };
      return { serial, token, proofs: { password: { username: serial, password: token }, key: byKey } };
    };
    type Enrolled = Awaited<ReturnType<typeof enrol>>;
    const versions = [4, 5] as const;
    const encodings = ['json', 'cbor'] as const;
    const proofs = ['password', 'key'] as const;
    const ways = versions.flatMap((version) => encodings.map((encoding) => ({ version, encoding })));
    const sent: string[] = [];
    const send = async (
      { serial }: Enrolled,
      connect: object,
      version: 4 | 5,
      topic: string,
      fields: object | Buffer,
    ) => {
      const device = await connectFleetDevice(gateway.broker, connect, version);
      await device.publish(topic, fields);
      sent.push(serial);
      return device;
    };

    // a registration comes after its certificate
    const registering = [];
    for (const { version, encoding } of ways)
      for (const proof of proofs) {
        const enrolled = await enrol(`registers-${version}-${encoding}-${proof}`);
        const device = await send(enrolled, enrolled.proofs[proof], version, create(encoding), {});
        const { certificateOwnershipToken, privateKey = '' } = (await device.next()).body;
        secrets.push(...keyForms(privateKey), ...disguises(certificateOwnershipToken ?? ''));
        registering.push({ ...enrolled, device, encoding, certificateOwnershipToken });
      }
    await gateway.worker.close();
    for (const { serial, token, device, encoding, certificateOwnershipToken } of registering) {
      const parameters = { SerialNumber: serial, Token: token };
      await device.publish(provision('plain', encoding), { certificateOwnershipToken, parameters });
    }
    const { csrPem } = await makeDeviceKey('leak-csr');
    const asking = [];
    for (const { version, encoding } of ways) {
      const way = `${version}-${encoding}`;
      const inPayload = await enrol(`payload-${way}`);
      const fields = { token: inPayload.token, key: 'ec', note: inPayload.token };
      const payload = encoding === 'cbor' ? Buffer.from(encode(fields)) : fields;
      asking.push(await send(inPayload, {}, version, requestTopic(inPayload.serial), payload));
      for (const proof of proofs) {
        const own = await enrol(`own-${way}-${proof}`);
        const unasked = { key: 'ec', Token: own.token };
        const request = encoding === 'cbor' ? Buffer.from(encode(unasked)) : unasked;
        asking.push(await send(own, own.proofs[proof], version, requestTopic(own.serial), request));
        const fleet = await enrol(`fleet-${way}-${proof}`);
        const asked = { certificateSigningRequest: csrPem, Token: fleet.token };
        asking.push(await send(fleet, fleet.proofs[proof], version, createFromCsr(encoding), asked));
      }
    }
    const waiting = (await everythingInRedis(gateway.redis.url)).join('\n');
    for (const serial of sent) expect(waiting).toContain(serial);
    expect(waiting).toContain('SerialNumber');
    expect(await leaksOf(secrets)).toEqual([]);

    gateway.startOneWorker();
    for (const { device, serial } of registering)
      expect((await device.next()).body).toMatchObject({ thingName: serial });
    await Promise.all([...registering.map(({ device }) => device), ...asking].map((device) => device.leave()));
    expect(await leaksOf(secrets)).toEqual([]);
  });

  const tokenOf = (line: string) => (JSON.parse(line) as { token: string }).token;

  /** `cvm devices …`; resolves with what it printed. */
  async function devices(...argv: string[]): Promise<string[]> {
    const lines: string[] = [];
    const command = devicesCommand({
      takeover: noTakeover,
      operator: async () => gateway.operator,
      write: (line) => lines.push(line),
    });
    await command.parseAsync(argv, { from: 'user' });
    return lines;
  }

  const metricsText = async () => (await gateway.broker.metricsText()) + (await gateway.worker.metricsText());

  /** Where any of these is found: in the log, in Redis, in the metrics, below the data folder, where table, audit trail and Redis' files are. */
  async function leaksOf(secrets: readonly (string | Buffer)[]): Promise<string[]> {
    const places: [string, Buffer][] = [
      ['log', Buffer.from(gateway.logText())],
      ['metrics', Buffer.from(await metricsText())],
      ...(await everythingInRedis(gateway.redis.url)).map((content): [string, Buffer] => ['Redis', content]),
    ];
    for (const file of filesBelow(gateway.dataDir)) places.push([file, readFileSync(file)]);
    expect(places.length).toBeGreaterThan(20);
    const files = places.map(([place]) => relative(gateway.dataDir, place));
    for (const needed of [/^audit\//, /^aws-local\//, /appendonly/])
      expect(files).toContainEqual(expect.stringMatching(needed));
    return places.filter(([, content]) => secrets.some((secret) => content.includes(secret))).map(([place]) => place);
  }
});

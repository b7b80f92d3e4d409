import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { CreateTableCommand, DynamoDBClient, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { ListThingPrincipalsCommand } from '@aws-sdk/client-iot';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { type AwsLocal, startAwsLocal } from '../../aws-local/main.ts';
import { devicesCommand } from '../../cli/devices.ts';
import { sweepCommand } from '../../cli/sweep.ts';
import { ackTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { derivePsk } from '../../protocol/psk.ts';
import { hashToken, makeToken } from '../../protocol/token.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { gatewayIdIn } from '../../site-tls/gateway-key.ts';
import { askOnce, connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { noTakeover } from '../support/operator.ts';

describe.skipIf(lacks('redis-server'))('two gateways of two sites on one table', () => {
  let north: Gateway;
  let south: Gateway;
  beforeAll(async () => {
    north = await startGateway({ env: { CVM_SITE: 'north' } });
    await vi.waitUntil(async () => (await north.gateways.known()).length === 1, 45_000);
    south = await startGateway({ beside: north, env: { CVM_SITE: 'south' } });
    await vi.waitUntil(async () => (await north.gateways.known()).length === 2, 45_000);
    await north.gateways.approve(gatewayIdIn(south.dataDir) ?? '');
    vi.spyOn(console, 'error').mockImplementation(() => {});
  });
  afterAll(async () => {
    vi.restoreAllMocks();
    process.exitCode = undefined;
    await south?.close();
    await north?.close();
  });

  async function devices(...argv: string[]): Promise<string[]> {
    const lines: string[] = [];
    const operator = async () => north.operator;
    const command = devicesCommand({ takeover: noTakeover, operator, write: (line) => lines.push(line) });
    await command.parseAsync(argv, { from: 'user' });
    return lines;
  }
  async function enrol(serial: string, ...options: string[]): Promise<string> {
    const [line = ''] = await devices('add', serial, '--json', ...options);
    return (JSON.parse(line) as { token: string }).token;
  }
  const ask = ({ broker }: Gateway, serial: string, token: string) => askOnce(broker, serial, { token, key: 'ec' });
  const principalsOf = async (thingName: string) =>
    (await north.iot.send(new ListThingPrincipalsCommand({ thingName }))).principals;

  it('the gateways are known with their sites, and the keys of a device are sealed to those of its site only', async () => {
    const [one, other] = [gatewayIdIn(north.dataDir) ?? '', gatewayIdIn(south.dataDir) ?? ''];
    const sites = Object.fromEntries((await north.gateways.known()).map(({ id, site }) => [id, site]));
    expect(sites).toEqual({ [one]: 'north', [other]: 'south' });
    await enrol('sealed-north', '--site', 'north');
    await enrol('sealed-any');
    const sealedTo = async (serial: string) =>
      Object.keys((await north.registry.find(serial))?.sealedKeys ?? {}).sort();
    expect(await sealedTo('sealed-north')).toEqual([one]);
    expect(await sealedTo('sealed-any')).toEqual([one, other].sort());
  });

  it('vend for the devices of their site and for those without one, and refuse others as unknown', async () => {
    const token = await enrol('of-north', '--site', 'north');
    const refused = await ask(south, 'of-north', token);
    expect(refused).toMatchObject({ status: 'rejected', errorCode: 'InvalidToken' });
    const { id: _own, ...unknown } = await ask(south, 'of-nobody', token);
    expect({ ...refused, id: undefined }).toEqual({ ...unknown, id: undefined });
    expect(await ask(north, 'of-north', token)).toMatchObject({ status: 'accepted' });
    const any = await enrol('of-any');
    const first = await ask(south, 'of-any', any);
    expect(first).toMatchObject({ status: 'accepted' });
    expect(await ask(north, 'of-any', any)).toMatchObject({ certificateId: first.certificateId });
  });

  it('a device uses its token as a pre-shared key at its site, and no other site has it on its roster', async () => {
    const token = await enrol('psk-south', '--site', 'south');
    await expect.poll(() => south.broker.roster.keysOf('psk-south')).toBeDefined();
    const key = {
      pskCallback: () => ({ psk: derivePsk('psk-south', token), identity: 'psk-south' }),
      checkServerIdentity: () => undefined,
    };
    const device = await connectDevice({ ...south.broker, caPem: '' }, key);
    await device.client.publishAsync(requestTopic('psk-south'), '{"key":"ec"}', { qos: 1 });
    expect(await device.next()).toMatchObject({ status: 'accepted' });
    await device.client.endAsync(true);
    await expect(connectDevice({ ...north.broker, caPem: '' }, key)).rejects.toThrow();
    expect(north.broker.roster.keysOf('psk-south')).toBeUndefined();
  });

  it('a device that moves gets the same certificate at its new site, acknowledges it there, and is unknown at the old one', async () => {
    const token = await enrol('mover', '--site', 'north');
    const first = await ask(north, 'mover', token);
    await north.queueIsEmpty();
    expect(await devices('move', 'mover', '--site', 'south')).toEqual(['mover moved from north to south']);
    expect(await devices('move', 'mover', '--site', 'south')).toEqual(['mover has the site south already']);
    await expect.poll(() => north.broker.roster.matchesToken('mover', hashToken(token))).toBe(false);
    expect(await ask(north, 'mover', token)).toMatchObject({ errorCode: 'InvalidToken' });
    const device = await connectDevice(south.broker, { username: 'mover', password: token });
    await device.client.publishAsync(requestTopic('mover'), '{"key":"ec"}', { qos: 1 });
    expect(await device.next()).toMatchObject({ certificateId: first.certificateId, privateKey: first.privateKey });
    const { certificateId } = first;
    await device.client.publishAsync(ackTopic('mover'), JSON.stringify({ certificateId }), { qos: 1 });
    await device.client.endAsync(true);
    await expect.poll(async () => (await north.registry.find('mover'))?.deliveredAt).toBeGreaterThan(0);
    expect(await principalsOf('mover')).toHaveLength(1);
    expect((await devices('show', 'mover', '--json')).join()).toContain('"site":"south"');
    expect((await devices('list', '--site', 'south')).some((line) => line.includes('mover'))).toBe(true);
    expect((await devices('list', '--site', 'north')).some((line) => line.includes('mover'))).toBe(false);
    expect(await devices('move', 'mover', '--no-site')).toEqual(['mover moved from south to no site']);
  });

  it('a device of a row that another tool wrote is served at either, before and after cvm sweep has entered the row in the index', async () => {
    const [serial, token] = ['by-a-tool', makeToken()];
    const row = { productId: { S: serial }, accessToken: { S: hashToken(token) }, applyState: { N: '0' } };
    await north.dynamo.send(new PutItemCommand({ TableName: 'cvm-devices', Item: row }));
    const { certificateId } = await ask(south, serial, token);
    expect(certificateId).toBeDefined();
    const lines: string[] = [];
    const { asOperator, issuer, audit } = north;
    const command = sweepCommand({
      settings: async () => loadSettings({}),
      audit: async () => audit,
      table: async () => asOperator,
      issuer: async () => issuer,
      write: (line) => lines.push(line),
      clock: async () => Date.now,
    });
    const other = { ...row, productId: { S: 'by-a-tool-too' } };
    await north.dynamo.send(new PutItemCommand({ TableName: 'cvm-devices', Item: other }));
    await command.parseAsync(['--json'], { from: 'user' });
    expect(JSON.parse(lines.at(-1) ?? '')).toMatchObject({ entered: expect.any(Number) });
    const found = new Set<string>();
    for await (const device of asOperator.sites.list('north')) found.add(device.serial);
    expect([...found]).toEqual(expect.arrayContaining([serial, 'by-a-tool-too']));
    expect(await ask(north, serial, token)).toMatchObject({ certificateId });
  });

  it('a move in the middle of an attempt ends with one certificate, at the new site', async () => {
    const token = await enrol('caught', '--site', 'north');
    north.aws.faults.set([{ operation: 'UpdateCertificate', kind: 'stall', ms: 4000, times: 1 }]);
    const asking = ask(north, 'caught', token);
    await expect.poll(async () => (await north.registry.find('caught'))?.certificateId).toBeDefined();
    await devices('move', 'caught', '--site', 'south', '--force');
    const answer = await ask(south, 'caught', token);
    expect(answer).toMatchObject({ status: 'accepted' });
    expect(await asking).toMatchObject({ status: 'rejected', errorCode: 'InvalidToken' });
    expect(await principalsOf('caught')).toHaveLength(1);
    expect(await north.registry.find('caught')).toMatchObject({
      state: 'registered',
      site: 'south',
      certificateId: answer.certificateId,
    });
  });
});

describe('cvm aws setup, with a table that is there without the index', () => {
  const table = 'older-devices';
  let aws: AwsLocal;
  let client: DynamoDBClient;
  let folder: string;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-setup-'));
    aws = await startAwsLocal({ dataDir: join(folder, 'aws'), httpPort: 0, mqttPort: 0, quotas: 'off' });
    const credentials = { accessKeyId: 'x', secretAccessKey: 'x' };
    client = new DynamoDBClient({ region: 'us-east-1', endpoint: aws.httpUrl, credentials });
    await client.send(
      new CreateTableCommand({
        TableName: table,
        BillingMode: 'PAY_PER_REQUEST',
        KeySchema: [{ AttributeName: 'productId', KeyType: 'HASH' }],
        AttributeDefinitions: [{ AttributeName: 'productId', AttributeType: 'S' }],
      }),
    );
  });
  afterAll(async () => {
    client?.destroy();
    await aws?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  async function cvm(argv: readonly string[], more: NodeJS.ProcessEnv = {}) {
    const inherited = Object.entries(process.env).filter(([name]) => !/^(AWS|CVM|REDIS|LOG)_/.test(name));
    const env = {
      ...Object.fromEntries(inherited),
      AWS_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: 'x',
      AWS_SECRET_ACCESS_KEY: 'x',
      AWS_ENDPOINT_URL_IOT: aws.httpUrl,
      AWS_ENDPOINT_URL_DYNAMODB: aws.httpUrl,
      CVM_DATA_DIR: folder,
      CVM_TABLE: table,
      ...more,
    };
    const program = join(import.meta.dirname, '../../dist/cli/cvm.js');
    return promisify(execFile)(process.execPath, [program, ...argv], { env, cwd: folder }).then(
      ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
      ({ code, stdout, stderr }: { code: number; stdout: string; stderr: string }) => ({ code, stdout, stderr }),
    );
  }

  it('says what the index costs, and is an error only for a gateway with a site; adds it with --yes; and is safe to repeat', async () => {
    const said = await cvm(['aws', 'setup']);
    expect(said.stderr).toMatch(/no index by site.*"cvm aws setup --yes" adds it.*minutes to hours.*write unit/);
    expect(said).toMatchObject({ code: 0, stdout: expect.stringContaining('index cvm-site: missing') });
    expect(await cvm(['aws', 'setup'], { CVM_SITE: 'north' })).toMatchObject({ code: 1 });
    const added = await cvm(['aws', 'setup', '--yes', '--json'], { CVM_SITE: 'north' });
    expect([added.code, JSON.parse(added.stdout)]).toMatchObject([0, { 'index cvm-site': 'created' }]);
    const again = await cvm(['aws', 'setup'], { CVM_SITE: 'north' });
    expect(again).toMatchObject({ code: 0, stdout: expect.stringContaining('index cvm-site: exists') });
    expect(again.stderr).not.toContain('no index');
  });

  it('a name that no site can have is a mistake in the settings', async () => {
    const { code, stderr } = await cvm(['devices', 'list'], { CVM_SITE: 'a b' });
    expect([code, stderr]).toEqual([
      2,
      expect.stringMatching(/CVM_SITE: the name of a site has 1 to 64 of the characters/),
    ]);
    expect(await cvm(['devices', 'move', 'A', '--site', '*'])).toMatchObject({ code: 2 });
    expect(await cvm(['devices', 'move', 'A'])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--no-site'),
    });
  });
});

import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CreateTableCommand,
  DescribeContinuousBackupsCommand,
  DescribeTimeToLiveCommand,
  DynamoDBClient,
  type DynamoDBClientConfig,
  UpdateTimeToLiveCommand,
} from '@aws-sdk/client-dynamodb';
import { DescribeCertificateCommand, ListCertificatesCommand } from '@aws-sdk/client-iot';
import { afterAll, beforeAll, describe, expect, it, onTestFinished, vi } from 'vitest';
import { createApp } from '../../app/app.ts';
import { connectTable, requireAws } from '../../app/aws.ts';
import { planAws, setUpAws, setUpGateway } from '../../app/aws-setup.ts';
import { endsSoon, usualThingName } from '../../app/gateway-identity.ts';
import { readGatewayIdentity } from '../../aws/gateway-identity.ts';
import { fetchCredentials } from '../../aws/role-alias.ts';
import { awsCommand } from '../../cli/aws.ts';
import { createLog } from '../../runtime/log.ts';
import { loadSettings, type Settings } from '../../runtime/settings.ts';
import { openStandIn, type StandIn } from './aws-local-fixture.ts';

const roleArn = 'arn:aws:iam::000000000000:role/cvm-worker';

describe('setting up an AWS account', () => {
  let standIn: StandIn;
  let dataDir: string;
  let settings: Settings;
  const log = createLog('silent');
  beforeAll(async () => {
    standIn = await openStandIn();
    dataDir = mkdtempSync(join(tmpdir(), 'cvm-setup-'));
    settings = {
      ...loadSettings({ CVM_DATA_DIR: dataDir, LOG_LEVEL: 'silent' }),
      aws: {
        region: 'us-east-1',
        endpoint: standIn.aws().httpUrl,
        credentials: { accessKeyId: 'admin', secretAccessKey: 's' },
      },
      rootCaFile: standIn.aws().rootCaFile,
    };
  });
  afterAll(async () => {
    await standIn.close();
    rmSync(dataDir, { recursive: true, force: true });
  });
  const plan = async (more: Partial<Parameters<typeof planAws>[1]> = {}) =>
    (await planAws(settings, { addIndex: false, ...more })).map(({ what, will }) => [what, will !== undefined]);
  const wish = () => ({
    thingName: 'cvm-gateway-plant-7',
    roleAlias: 'workers',
    roleArn,
    port: standIn.aws().mqttPort,
  });

  async function run(of: Settings, ...argv: string[]) {
    const lines: string[] = [];
    process.exitCode = undefined;
    const app = createApp(of, log);
    const unused = () => Promise.reject(new Error('this command needs no more'));
    const context = {
      settings: async () => of,
      app: async () => app,
      write: (line: string) => void lines.push(line),
      clock: async () => () => 0,
    };
    await awsCommand({ ...context, table: unused as never }).parseAsync(['setup', ...argv], { from: 'user' });
    await app.lifecycle.close();
    const { exitCode } = process;
    process.exitCode = undefined;
    return { exitCode, text: lines.join('\n') };
  }
  const dynamo = () => {
    const { region, endpoint, credentials } = settings.aws;
    const client = new DynamoDBClient({ region, endpoint, credentials, maxAttempts: 1 } as DynamoDBClientConfig);
    onTestFinished(() => client.destroy());
    return client;
  };
  const askedOf = async (TableName: string) => ({
    backups: await dynamo().send(new DescribeContinuousBackupsCommand({ TableName })),
    timeToLive: await dynamo().send(new DescribeTimeToLiveCommand({ TableName })),
  });
  const failing = (operation: string, errorName: string, times?: number) => ({
    operation: `DynamoDB.${operation}`,
    kind: 'fail-before',
    errorName,
    status: 400,
    ...(times === undefined ? {} : { times }),
  });

  it('plans what is missing and changes nothing; after the set-up there is nothing left to do', async () => {
    const all = [
      'table cvm-devices',
      'index cvm-site',
      'point-in-time recovery',
      'time to live',
      'IoT policy cvm-device',
    ];
    for (const _twice of [1, 2]) expect(await plan()).toEqual(all.map((what) => [what, true]));
    expect(await setUpAws(settings)).toMatchObject({ table: 'created', policy: 'created' });
    expect(await plan()).toEqual(all.map((what) => [what, false]));
    expect(await setUpAws(settings)).toMatchObject({ table: 'exists', policy: 'exists' });
  });

  it('turns on recovery and time to live of the table, also where AWS cannot yet back up a table that it has just made', async () => {
    const other = { ...settings, table: 'kept' };
    standIn.aws().faults.set([failing('UpdateContinuousBackups', 'ContinuousBackupsUnavailableException', 2)]);
    expect(await setUpAws(other)).toMatchObject({ recovery: 'turned on', timeToLive: 'turned on' });
    standIn.aws().faults.set([]);
    const { backups, timeToLive } = await askedOf('kept');
    expect(backups.ContinuousBackupsDescription).toMatchObject({
      PointInTimeRecoveryDescription: { PointInTimeRecoveryStatus: 'ENABLED' },
    });
    expect(timeToLive.TimeToLiveDescription).toEqual({ TimeToLiveStatus: 'ENABLED', AttributeName: 'forgetAt' });
    expect(await setUpAws(other)).toMatchObject({ recovery: 'exists', timeToLive: 'exists' });
  });

  it('turns them on for a table that was there before, and leaves a time to live of others as it is', async () => {
    await dynamo().send(
      new CreateTableCommand({
        TableName: 'earlier',
        BillingMode: 'PAY_PER_REQUEST',
        KeySchema: [{ AttributeName: 'productId', KeyType: 'HASH' }],
        AttributeDefinitions: [{ AttributeName: 'productId', AttributeType: 'S' }],
      }),
    );
    const TimeToLiveSpecification = { Enabled: true, AttributeName: 'theirs' };
    await dynamo().send(new UpdateTimeToLiveCommand({ TableName: 'earlier', TimeToLiveSpecification }));
    const other = { ...settings, table: 'earlier' };
    expect(await planAws(other, { addIndex: false })).toContainEqual({
      what: 'time to live',
      now: expect.stringMatching(/on for the attribute "theirs"/),
    });
    expect(await setUpAws(other)).toMatchObject({
      recovery: 'turned on',
      timeToLive: { left: expect.stringContaining('theirs') },
    });
    expect((await askedOf('earlier')).timeToLive.TimeToLiveDescription).toMatchObject({ AttributeName: 'theirs' });
  });

  it('does all else where AWS denies recovery or time to live, and says which action to allow', async () => {
    vi.spyOn(console, 'error').mockImplementation(() => {});
    const other = { ...settings, table: 'denied' };
    const deny = (...operations: string[]) =>
      standIn.aws().faults.set(operations.map((operation) => failing(operation, 'AccessDeniedException')));
    deny('UpdateContinuousBackups');
    expect(await run(other)).toMatchObject({
      exitCode: 1,
      text: expect.stringMatching(
        /table denied: created\n.*point-in-time recovery: left as it is\ntime to live: turned on/s,
      ),
    });
    expect(vi.mocked(console.error).mock.calls.flat().join('\n')).toMatch(
      /point-in-time recovery is not on: AWS denies dynamodb:UpdateContinuousBackups.*cvm aws policy --for setup/,
    );
    deny('DescribeContinuousBackups', 'DescribeTimeToLive');
    expect(await run(other, '--plan')).toMatchObject({
      exitCode: undefined,
      text: expect.stringMatching(
        /recovery: AWS denies dynamodb:DescribeContinuousBackups .*cvm aws policy --for setup/,
      ),
    });
    expect(await run(other)).toMatchObject({ exitCode: undefined });
    standIn.aws().faults.set([]);
    vi.restoreAllMocks();
  });

  it('says by its exit status whether there is something to do, and with --plan does nothing', async () => {
    vi.spyOn(console, 'error').mockImplementation(() => {});
    const other = { ...settings, table: 'planned', policyName: 'planned' };
    for (const _twice of [1, 2])
      expect(await run(other, '--plan')).toMatchObject({
        exitCode: 3,
        text: expect.stringMatching(/table planned: missing; is made/),
      });
    expect(await run(other)).toMatchObject({
      exitCode: undefined,
      text: expect.stringMatching(/table planned: created/),
    });
    expect(await run(other, '--plan')).toMatchObject({
      exitCode: undefined,
      text: expect.stringMatching(/table planned: is there/),
    });
    await expect(run(other, '--role', roleArn)).rejects.toThrow(/--gateway/);
    vi.restoreAllMocks();
  });

  it('makes no gateway without a role for its alias, and says which option names one', async () => {
    const without = { ...wish(), roleArn: undefined };
    await expect(plan({ gateway: without })).rejects.toMatchObject({
      cure: expect.stringMatching(/--role arn:aws:iam/),
    });
    await expect(setUpGateway(settings, without, log)).rejects.toThrow(/no role alias "workers"/);
    expect((await standIn.iot().send(new ListCertificatesCommand({}))).certificates).toEqual([]);
  });

  it('gives a gateway a certificate whose key stays here, once, and with it credentials without AWS keys', async () => {
    expect(await plan({ gateway: wish() })).toContainEqual(['certificate of the thing cvm-gateway-plant-7', true]);
    expect(await setUpGateway(settings, wish(), log)).toBe('created');
    expect((await plan({ gateway: wish() })).some(([, will]) => will)).toBe(false);
    expect(await setUpGateway(settings, wish(), log)).toBe('exists');
    const { certFile, keyFile } = settings.gatewayCertificate;
    expect(statSync(keyFile).mode & 0o777).toBe(0o600);
    expect(readFileSync(certFile, 'utf8')).toMatch(/^-----BEGIN CERTIFICATE-----/);
    const { credentials: _admin, ...place } = settings.aws;
    const app = createApp({ ...settings, aws: place, roleAlias: { name: 'workers', endpoint: undefined } }, log);
    expect(await requireAws(app)).toMatchObject({ region: 'us-east-1' });
    await expect(connectTable(app, 'gateway').registry.find('nobody')).resolves.toBeUndefined();
    expect((await app.awsCredentials?.())?.accessKeyId).toMatch(/^ASIA/);
    await app.lifecycle.close();
  });

  it('rotates the certificate: the new one gives credentials before the old one is deleted', async () => {
    const { certFile, keyFile } = settings.gatewayCertificate;
    const before = readGatewayIdentity(certFile)?.certificateId ?? '';
    expect(await setUpGateway(settings, { ...wish(), rotate: true }, log)).toBe('created');
    const after = readGatewayIdentity(certFile)?.certificateId;
    expect(after).not.toBe(before);
    await expect(standIn.iot().send(new DescribeCertificateCommand({ certificateId: before }))).rejects.toMatchObject({
      name: 'ResourceNotFoundException',
    });
    const source = { name: 'workers', certFile, keyFile, rootCaFile: settings.rootCaFile };
    await expect(fetchCredentials(source)).resolves.toHaveProperty('accessKeyId');
  });

  it('leaves the gateway the certificate that works where another cannot be made, and leaves no half of another behind', async () => {
    const { certFile } = settings.gatewayCertificate;
    const before = readGatewayIdentity(certFile);
    standIn.aws().faults.set([
      {
        operation: 'AttachPolicy',
        kind: 'fail-before',
        errorName: 'InternalFailureException',
        status: 500,
        times: 3,
      },
    ]);
    await expect(setUpGateway(settings, { ...wish(), rotate: true }, log)).rejects.toThrow();
    standIn.aws().faults.set([]);
    expect(readGatewayIdentity(certFile)).toEqual(before);
    expect((await standIn.iot().send(new ListCertificatesCommand({}))).certificates).toMatchObject([
      { certificateId: before?.certificateId, status: 'ACTIVE' },
    ]);
  });

  it("knows when a certificate ends soon: AWS's end with 2049, those of another CA before", () => {
    const { certFile } = settings.gatewayCertificate;
    expect(endsSoon(certFile, Date.now())).toBe(false);
    expect(endsSoon(certFile, Date.parse('2049-12-10'))).toBe(true);
    expect(endsSoon(join(dataDir, 'none.crt'), Date.now())).toBe(false);
  });

  it('names the thing of a gateway by its site or its machine, in the alphabet of AWS', () => {
    expect(usualThingName({ site: 'plant-7', machineName: 'm' })).toBe('cvm-gateway-plant-7');
    expect(usualThingName({ site: undefined, machineName: 'gw.plant.example' })).toBe('cvm-gateway-gw-plant-example');
  });

  it('keeps the thing that a gateway is already, and makes no name of the id of a container, which is another one tomorrow', () => {
    const container = { site: undefined, machineName: '3f2a9c0b1d4e' };
    expect(usualThingName(container)).toBeUndefined();
    expect(usualThingName(container, { thingName: 'gw' })).toBe('gw');
    expect(usualThingName({ ...container, site: 'plant-7' })).toBe('cvm-gateway-plant-7');
  });

  it('asks AWS for no certificate that it could not put away, and says who must be able to write where', async () => {
    const { certFile } = settings.gatewayCertificate;
    // root may write into any folder, and this is none
    const elsewhere = join(certFile, 'folder');
    const nowhere = { certFile: join(elsewhere, 'gateway.crt'), keyFile: join(elsewhere, 'gateway.key') };
    const before = (await standIn.iot().send(new ListCertificatesCommand({}))).certificates;
    await expect(setUpGateway({ ...settings, gatewayCertificate: nowhere }, wish(), log)).rejects.toMatchObject({
      message: expect.stringContaining(elsewhere),
      cure: expect.stringMatching(/uid \d+\) write there.*CVM_ROLE_ALIAS_FOLDER/),
    });
    expect((await standIn.iot().send(new ListCertificatesCommand({}))).certificates).toEqual(before);
    expect(readGatewayIdentity(certFile)).toBeDefined();
  });
});

import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateTableCommand, DynamoDBClient, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { CreatePolicyCommand, IoTClient } from '@aws-sdk/client-iot';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { setUpAws } from '../../app/aws-setup.ts';
import { actionsOf } from '../../aws/iam-policy.ts';
import { type AwsLocal, startAwsLocal } from '../../aws-local/main.ts';
import { createLog } from '../../runtime/log.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { loadGateway } from '../../site-tls/gateway-key.ts';
import { about, examine } from '../support/doctor.ts';
import { freePort } from '../support/network.ts';
import { isolated, silentServer } from '../support/program.ts';

const log = createLog('silent');
const hour = 3_600_000;

/** Answers every call with this error, and this Date. */
async function answering(status: number, body: object, headers: Record<string, string> = {}) {
  const server = createServer((request, response) => {
    request.resume();
    response.writeHead(status, { 'content-type': 'application/x-amz-json-1.0', ...headers }).end(JSON.stringify(body));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, close: () => server.close() };
}

describe('cvm doctor, of AWS', () => {
  let dataDir: string;
  let aws: AwsLocal;
  let dynamo: DynamoDBClient;
  let iot: IoTClient;
  beforeAll(async () => {
    dataDir = mkdtempSync(join(tmpdir(), 'cvm-doctor-aws-'));
    aws = await startAwsLocal({ dataDir: join(dataDir, 'cloud'), httpPort: 0, mqttPort: 0, quotas: 'off', log });
    const access = {
      region: 'us-east-1',
      endpoint: aws.httpUrl,
      credentials: { accessKeyId: 'x', secretAccessKey: 'x' },
    };
    await setUpAws({ ...loadSettings(isolated(dataDir)), aws: access });
    [dynamo, iot] = [new DynamoDBClient(access), new IoTClient(access)];
  });
  afterEach(() => faults([]));
  afterAll(async () => {
    dynamo.destroy();
    iot.destroy();
    await aws.close();
    rmSync(dataDir, { recursive: true, force: true });
  });
  const faults = (rules: readonly object[]) =>
    fetch(`${aws.httpUrl}/_local/faults`, { method: 'PUT', body: JSON.stringify(rules) });
  const denied = (operation: string) => ({
    ...{ operation, kind: 'fail-before', status: 403, errorName: 'AccessDeniedException' },
  });
  const look = (env: Record<string, string> = {}, only?: readonly string[], url = aws.httpUrl) =>
    examine({ dataDir, env, aws: url, parts: ['worker'], ...(only === undefined ? {} : { only }) });
  const journal = async () =>
    (await fetch(`${aws.httpUrl}/_local/stats`)).json() as Promise<Record<string, { calls: number }>>;

  it('finds nothing that fails in a good account, tries every permission but one, and changes nothing', async () => {
    const found = await look();
    expect(found.filter(({ outcome, id }) => outcome === 'fail' && id !== 'redis')).toEqual([]);
    expect(about(found, 'permissions-iot')).toMatch(
      /^ok: 19 allowed: .*\nskipped: iot:CreateKeysAndCertificate could not be tried: every call of it makes a certificate/,
    );
    expect(about(found, 'permissions-dynamodb')).toMatch(/^ok: 6 allowed: /);
    expect(about(found, 'iot-policy')).toMatch(/^ok/);
    expect(about(found, 'aws-clock')).toMatch(/^ok/);
    expect(about(found, 'table-backups')).toMatch(/^ok: on/);
    expect(about(found, 'account-quotas')).toMatch(
      /^ok: AWS allows the account what the gateway goes by: .*UpdateCertificate=10/,
    );
    // its data plane has a port that no endpoint names
    expect(about(found, 'aws-endpoint')).toMatch(/^ok: localhost, of a stand-in/);
    // a newcomer who reads what is only skipped finds no error of ours in it
    expect(found.map(({ seen }) => seen).join('\n')).not.toMatch(/UnknownError|UnknownOperation|undefined|\[object/);
    const calls = await journal();
    expect(calls.CreateKeysAndCertificate).toBeUndefined();
    const list = async (path: string) => (await fetch(`${aws.httpUrl}${path}`)).json();
    expect(await list('/certificates')).toMatchObject({ certificates: [] });
    expect(await list('/things')).toMatchObject({ things: [] });
  });

  it('asks Service Quotas what the account may do, and says where it may not, or gets no answer', async () => {
    const id = 'account-quotas';
    const only = [id];
    const cloud = join(dataDir, 'raised');
    const raised = await startAwsLocal({
      dataDir: cloud,
      httpPort: 0,
      mqttPort: 0,
      quotas: { UpdateCertificate: 20 },
      log,
    });
    const ofRaised = (env: Record<string, string> = {}) => look(env, only, raised.httpUrl);
    expect(about(await ofRaised(), id)).toMatch(/^ok: AWS allows the account more .*UpdateCertificate 10 of 20/);
    const all = await ofRaised({ CVM_QUOTAS: 'UpdateCertificate=50' });
    expect(about(all, id)).toMatch(/^warn: .*UpdateCertificate 50 of 20 .*UpdateCertificate=20/);
    await raised.close();
    await faults([denied('ServiceQuotas')]);
    expect(about(await look({}, only), id)).toMatch(
      /^skipped: this identity may not read it .*cvm aws policy --for doctor/,
    );
    await faults([{ operation: 'ServiceQuotas', kind: 'throttle' }]);
    expect(about(await look({}, only), id)).toMatch(/^skipped: .*GetServiceQuota/);
    expect(about(await look({ CVM_QUOTAS: 'off' }, only), id)).toMatch(/^skipped: CVM_QUOTAS is off/);
  });

  it('names each permission that is missing, with the action, and one that only commands need as a warning', async () => {
    await faults([
      denied('CreateThing'),
      denied('AttachPolicy'),
      denied('DynamoDB.DeleteItem'),
      denied('DynamoDB.PutItem'),
    ]);
    const found = await look({}, ['permissions-iot', 'permissions-dynamodb']);
    const ofIot = about(found, 'permissions-iot');
    expect(ofIot).toMatch(/^ok: 17 allowed/);
    expect(ofIot).toMatch(/fail: iot:AttachPolicy is denied: .*allow iot:AttachPolicy to the identity/);
    expect(ofIot).toMatch(/fail: iot:CreateThing is denied/);
    const ofTable = about(found, 'permissions-dynamodb');
    expect(ofTable).toMatch(/fail: dynamodb:DeleteItem is denied/);
    expect(ofTable).toMatch(/warn: dynamodb:PutItem is denied: .*commands that enrol/);
  });

  it('names each action that is denied, where all of them are', async () => {
    const wanted = [...new Set([...actionsOf('gateway'), ...actionsOf('operator')])];
    await faults(wanted.map((action) => denied(action.replace('iot:', '').replace('dynamodb:', 'DynamoDB.'))));
    const found = await look({}, ['aws', 'permissions-iot', 'permissions-dynamodb']);
    expect(about(found, 'aws')).toMatch(/^ok/);
    const named = `${about(found, 'permissions-iot')}\n${about(found, 'permissions-dynamodb')}`;
    const untried = ['iot:CreateKeysAndCertificate'];
    for (const action of wanted.filter((each) => !untried.includes(each)))
      expect(named).toContain(`${action} is denied: `);
  });

  it.each([
    ['ExpiredTokenException', 403, 'renew'],
    ['InvalidSignatureException', 403, 'secret key .* clock'],
    ['UnrecognizedClientException', 400, 'renew'],
    ['RequestTimeTooSkewed', 403, 'NTP'],
  ])('names credentials that AWS refuses as %s', async (errorName, status, cure) => {
    await faults([{ operation: '*', kind: 'fail-before', status, errorName }]);
    expect(about(await look({}, ['aws']), 'aws')).toMatch(new RegExp(`fail: .*${errorName}.* \\| .*${cure}`));
  });

  it('names an address of AWS that does not resolve, with the region to correct', async () => {
    // RFC 6761: it never does
    const found = await look({}, ['aws'], 'http://dynamodb.eu-wst-1.invalid');
    expect(about(found, 'aws')).toMatch(/fail: .*(ENOTFOUND|EAI_AGAIN).* \| .*\(AWS_REGION\)/);
  });

  it('does not take what only the doctor may not read for a fault', async () => {
    const ids = ['iot-policy', 'table', 'table-index', 'table-time-to-live'];
    await faults([denied('GetPolicy'), denied('DynamoDB.DescribeTable'), denied('DynamoDB.DescribeTimeToLive')]);
    const found = await look({}, ids);
    for (const id of ids) expect(about(found, id)).toMatch(/^skipped: this identity may not read it .*--for doctor/);
  });

  it('names a table that is not there, one that is none of ours, and one without the index that a site needs', async () => {
    const throughput = { BillingMode: 'PAY_PER_REQUEST' as const };
    const tableOf = (TableName: string, key: string) =>
      dynamo.send(
        new CreateTableCommand({
          ...{ TableName, ...throughput, KeySchema: [{ AttributeName: key, KeyType: 'HASH' }] },
          AttributeDefinitions: [{ AttributeName: key, AttributeType: 'S' }],
        }),
      );
    await tableOf('of-others', 'customer');
    await tableOf('without-index', 'productId');
    const table = async (env: Record<string, string>, id: string) =>
      about(await look(env, ['table', 'table-index']), id);
    expect(await table({ CVM_TABLE: 'absent' }, 'table')).toMatch(/fail: there is no table "absent" .*cvm aws setup/);
    expect(await table({ CVM_TABLE: 'of-others' }, 'table')).toMatch(
      /fail: "of-others" has the key "customer" .*CVM_TABLE/,
    );
    const env = { CVM_TABLE: 'without-index' };
    await expect.poll(() => table(env, 'table')).toMatch(/^ok/);
    expect(await table(env, 'table-index')).toMatch(/^ok: missing, and not needed/);
    expect(await table({ ...env, CVM_SITE: 'plant-7' }, 'table-index')).toMatch(/fail: missing .*cvm aws setup --yes/);
  });

  it('names an IoT policy that is missing, lets every device be every other, or lets none connect', async () => {
    const allow = (Action: string, Resource: string) =>
      JSON.stringify({ Version: '2012-10-17', Statement: [{ Effect: 'Allow', Action, Resource }] });
    await iot.send(new CreatePolicyCommand({ policyName: 'wide', policyDocument: allow('iot:*', '*') }));
    await iot.send(
      new CreatePolicyCommand({ policyName: 'mute', policyDocument: allow('iot:Publish', 'arn:aws:iot:*:*:topic/a') }),
    );
    const policy = async (CVM_POLICY_NAME: string) =>
      about(await look({ CVM_POLICY_NAME }, ['iot-policy']), 'iot-policy');
    expect(await policy('absent')).toMatch(/fail: there is no IoT policy "absent" .*cvm aws setup/);
    expect(await policy('wide')).toMatch(
      /fail: it allows iot:\* on \* .*each device can act in the name of every other device/,
    );
    expect(await policy('mute')).toMatch(/fail: it does not allow iot:Connect/);
  });

  it('names an AWS that is away, refuses the credentials, or has no region or credentials, and skips the rest', async () => {
    const only = ['aws-credentials', 'aws', 'table', 'permissions-iot'];
    const away = await look({}, only, `http://127.0.0.1:${await freePort()}`);
    expect(about(away, 'aws')).toMatch(/fail: .*ECONNREFUSED/);
    expect(about(away, 'permissions-iot')).toBe('skipped: not known while AWS does not answer |  | ');
    await faults([{ operation: '*', kind: 'fail-before', status: 403, errorName: 'UnrecognizedClientException' }]);
    expect(about(await look({}, only), 'aws')).toMatch(/fail: .*UnrecognizedClient.*correct or renew them/);
    const nothing = await examine({ dataDir, parts: ['worker'], only });
    expect(about(nothing, 'aws-credentials')).toMatch(
      /fail: no AWS region is set .*\nfail: there are no AWS credentials/,
    );
    expect(about(nothing, 'table')).toMatch(/^skipped: there is no region or no credentials/);
  });

  it('ends within its time also when AWS and Redis are silent, and says so', async () => {
    const silent = await silentServer();
    const url = `http://127.0.0.1:${silent.port}`;
    const found = await examine({ dataDir, aws: url, env: { REDIS_URL: `redis://127.0.0.1:${silent.port}` } });
    expect(about(found, 'aws')).toMatch(/fail: /);
    expect(about(found, 'redis')).toMatch(/fail: /);
    silent.close();
  });

  it("names a clock that differs from AWS's", async () => {
    const answer = { __type: 'com.amazonaws.dynamodb.v20120810#AccessDeniedException', message: 'no' };
    const late = await answering(400, answer, {
      ...{ date: new Date(Date.now() - hour).toUTCString(), 'x-amzn-errortype': 'AccessDeniedException' },
      'x-amzn-requestid': '1',
    });
    expect(about(await look({}, ['aws-clock'], late.url), 'aws-clock')).toMatch(
      /fail: 3\d\d\d s ahead of that of AWS .*NTP/,
    );
    late.close();
  });

  it('names a gateway that its table does not know, and a sweep of long ago', async () => {
    const gateway = await loadGateway(dataDir);
    const found = await examine({ dataDir, aws: aws.httpUrl, only: ['gateway-approved'] });
    expect(about(found, 'gateway-approved')).toContain(`fail: the table does not know ${gateway.identity.id}`);
    await dynamo.send(
      new UpdateItemCommand({
        ...{ TableName: 'cvm-devices', Key: { productId: { S: '#sweep' } } },
        UpdateExpression: 'SET sweptAt = :t',
        ExpressionAttributeValues: { ':t': { N: String(Date.now() - 9 * hour) } },
      }),
    );
    expect(about(await look({}, ['sweep']), 'sweep')).toMatch(/warn: at .*cvm sweep/);
  });
});

import { createHash } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DynamoDBClient, GetItemCommand } from '@aws-sdk/client-dynamodb';
import { DescribeEndpointCommand } from '@aws-sdk/client-iot';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { connectDynamoDb, connectIot } from '../../aws/client.ts';
import { createAwsConnections } from '../../aws/connections.ts';
import { createAwsGate } from '../../aws/gate.ts';
import { createBypass } from '../../aws/no-proxy.ts';
import { type AwsLocal, startAwsLocal } from '../../aws-local/main.ts';
import { ensureTable } from '../../registry/dynamodb/setup.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { openTable } from '../support/association-table.ts';
import { type ConnectProxy, startConnectProxy } from '../support/connect-proxy.ts';

const endpoint = 'http://aws.example.test:4566';
const credentials = { accessKeyId: 'x', secretAccessKey: 'x' };
const [user, password] = ['gate way', 'p@ss:w/ord'];
const secrets = [password, encodeURIComponent(password), Buffer.from(`${user}:${password}`).toString('base64')];

const row = () => new GetItemCommand({ TableName: 'devices', Key: { productId: { S: 'S' } } });

describe('calls of AWS through a proxy', () => {
  let aws: AwsLocal;
  let proxy: ConnectProxy;
  let dataDir: string;
  let clients: { destroy(): void }[];
  beforeEach(async () => {
    clients = [];
    dataDir = mkdtempSync(join(tmpdir(), 'cvm-proxy-'));
    aws = await startAwsLocal({ dataDir, httpPort: 0, mqttPort: 0, quotas: 'off' });
    const client = new DynamoDBClient({ region: 'eu-west-1', endpoint: aws.httpUrl, credentials });
    await ensureTable(openTable(client, 'devices').table);
    client.destroy();
    proxy = await startConnectProxy(Number(new URL(aws.httpUrl).port), { user, password });
  });
  afterEach(async () => {
    for (const client of clients) client.destroy();
    await proxy.close();
    await aws.close();
    rmSync(dataDir, { recursive: true, force: true });
    vi.unstubAllEnvs();
  });

  const named = () => `http://${encodeURIComponent(user)}:${encodeURIComponent(password)}@${proxy.host}`;

  function open(proxies: Record<string, unknown> = { http: named() }, onSilent?: (closed: number) => void) {
    const connections = createAwsConnections({ proxy: proxies, ...(onSilent === undefined ? {} : { onSilent }) });
    const options = { region: 'eu-west-1', endpoint, credentials, maxAttempts: 1, connections };
    const [dynamo, iot] = [connectDynamoDb(options), connectIot(options)];
    clients.push(dynamo, iot);
    const gate = createAwsGate({ table: 't', region: async () => 'eu-west-1' });
    return {
      get: () => gate.call('dynamodb:GetItem', () => dynamo.send(row())),
      describe: () => gate.call('iot:DescribeEndpoint', () => iot.send(new DescribeEndpointCommand({}))),
      connections,
    };
  }

  it('of DynamoDB and IoT Core make one tunnel each, with the credentials of the proxy, and keep it', async () => {
    const { get, describe: ask } = open();
    for (let calls = 0; calls < 3; calls++) await Promise.all([get(), ask()]);
    expect(proxy.asked).toEqual(['aws.example.test:4566', 'aws.example.test:4566']);
  });

  it('give up tunnels that fell silent, as they do connections', async () => {
    const closed: number[] = [];
    const { get, describe: ask, connections } = open({ http: named() }, (count) => closed.push(count));
    await Promise.all([get(), ask()]);
    connections.dropIdle();
    expect(closed).toEqual([2]);
    await get();
    expect(proxy.asked).toHaveLength(3);
  });

  it.each([
    [407, 'UpstreamRefused', /HTTP_PROXY.*user:password@/],
    [401, 'UpstreamRefused', /HTTP_PROXY.*user:password@/],
    [403, 'UpstreamRefused', /allow CONNECT to aws\.example\.test:4566 at the proxy.*NO_PROXY/],
    [502, 'UpstreamUnreachable', /the proxy itself cannot reach aws\.example\.test:4566/],
    ['silent', 'UpstreamUnreachable', /whether the proxy runs.*HTTP_PROXY/],
    ['hangs-up', 'UpstreamUnreachable', /whether the proxy runs.*HTTP_PROXY/],
  ] as const)('say which proxy failed, and the cure: %s', async (manner, name, cure) => {
    proxy.become(manner);
    const error = await open({ http: named(), tunnelMs: manner === 'silent' ? 300 : 45_000 })
      .get()
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ name, cure: expect.stringMatching(cure) });
    const { message } = error as Error;
    expect(message).toContain(`http://${proxy.host} `);
    for (const secret of secrets)
      expect(JSON.stringify([message, error, (error as Error).cause])).not.toContain(secret);
    proxy.become('works');
    expect(await open().get()).toBeDefined();
  });

  it('say that nothing listens where the proxy should be', async () => {
    await expect(open({ http: 'http://127.0.0.1:1' }).get()).rejects.toMatchObject({
      name: 'UpstreamUnreachable',
      message: expect.stringMatching(/the proxy http:\/\/127\.0\.0\.1:1 made no connection.*ECONNREFUSED/),
    });
  });

  it('refuse an address that is none, and a kind of proxy that cannot be used, without showing the password', () => {
    for (const http of [`http://me:${password}@`, 'http://a:%zz@proxy:3128', `socks5://me:secret-word@proxy:1080`]) {
      const opening = () => open({ http });
      expect(opening).toThrow(/HTTP_PROXY: /);
      expect(opening).not.toThrow(/secret-word|p@ss/);
    }
    // a host and a port are an address, as for curl
    expect(() => open({ http: proxy.host })).not.toThrow();
  });

  it('do not go through the proxy to a host of NO_PROXY, nor to this machine', async () => {
    await expect(open({ http: named(), except: '.example.test' }).get()).rejects.toThrow(/ENOTFOUND|EAI_AGAIN/);
    const connections = createAwsConnections({ proxy: { http: named() } });
    const dynamo = connectDynamoDb({ region: 'eu-west-1', endpoint: aws.httpUrl, credentials, connections });
    clients.push(dynamo);
    await dynamo.send(row());
    expect(proxy.asked).toEqual([]);
  });

  it('do not go through the proxy to a host of NO_PROXY whose address the environment names', async () => {
    // a client whose address is not set by an option calls several hosts: each is judged by itself
    vi.stubEnv('AWS_ENDPOINT_URL_DYNAMODB', aws.httpUrl);
    const connections = createAwsConnections({ proxy: { http: named() } });
    const dynamo = connectDynamoDb({ region: 'eu-west-1', credentials, connections });
    clients.push(dynamo);
    await dynamo.send(row());
    expect(proxy.asked).toEqual([]);
  });

  it('ask STS and SSO for credentials through the proxy, within the time limits of other calls', async () => {
    for (const name of ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_PROFILE']) vi.stubEnv(name, undefined);
    const session = 'plant';
    const config = `[profile role]
web_identity_token_file = ${join(dataDir, 'token')}
role_arn = arn:aws:iam::123456789012:role/gateway
[profile sso]
sso_session = ${session}
sso_account_id = 123456789012
sso_role_name = gateway
[sso-session ${session}]
sso_region = eu-west-1
sso_start_url = https://plant.awsapps.com/start
`;
    const cache = join(dataDir, '.aws', 'sso', 'cache');
    mkdirSync(cache, { recursive: true });
    const token = { accessToken: 'a', expiresAt: '2999-01-01T00:00:00Z' };
    writeFileSync(join(cache, `${createHash('sha1').update(session).digest('hex')}.json`), JSON.stringify(token));
    writeFileSync(join(dataDir, 'token'), 'token');
    writeFileSync(join(dataDir, 'config'), config);
    vi.stubEnv('HOME', dataDir);
    vi.stubEnv('AWS_CONFIG_FILE', join(dataDir, 'config'));
    vi.stubEnv('AWS_SHARED_CREDENTIALS_FILE', join(dataDir, 'none'));
    for (const service of ['STS', 'SSO']) vi.stubEnv(`AWS_ENDPOINT_URL_${service}`, `http://${service}.example.test`);
    proxy.become(502);
    for (const profile of ['role', 'sso']) {
      vi.stubEnv('AWS_PROFILE', profile);
      const connections = createAwsConnections({ proxy: { http: named() } });
      const dynamo = connectDynamoDb({ region: 'eu-west-1', endpoint, connections });
      clients.push(dynamo);
      await expect(dynamo.send(row())).rejects.toThrow();
    }
    expect([...new Set(proxy.asked.map((host) => host.toLowerCase()))]).toEqual([
      'sts.example.test:80',
      'sso.example.test:80',
    ]);
  });

  it('ask the container for its credentials directly', async () => {
    let asked = 0;
    const container = createServer((_request, response) => {
      asked++;
      response.end(
        JSON.stringify({ AccessKeyId: 'c', SecretAccessKey: 's', Token: 't', Expiration: '2999-01-01T00:00:00Z' }),
      );
    });
    await new Promise<void>((resolve) => container.listen(0, '127.0.0.1', resolve));
    for (const name of ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_PROFILE']) vi.stubEnv(name, undefined);
    for (const name of ['AWS_CONFIG_FILE', 'AWS_SHARED_CREDENTIALS_FILE']) vi.stubEnv(name, join(dataDir, 'none'));
    vi.stubEnv('AWS_CONTAINER_CREDENTIALS_FULL_URI', `http://127.0.0.1:${(container.address() as AddressInfo).port}/`);
    const connections = createAwsConnections({ proxy: { http: named() } });
    const dynamo = connectDynamoDb({ region: 'eu-west-1', endpoint, connections });
    clients.push(dynamo);
    await dynamo.send(row());
    expect([asked, proxy.asked]).toEqual([1, ['aws.example.test:4566']]);
    await new Promise((resolve) => container.close(resolve));
  });
});

describe('NO_PROXY', () => {
  it.each([
    ['example.com', 'example.com', 443, true],
    ['example.com', 'iot.example.com', 443, true],
    ['.example.com', 'iot.example.com', 443, true],
    ['*.example.com', 'iot.example.com', 443, true],
    ['example.com', 'notexample.com', 443, false],
    ['EXAMPLE.com', 'iot.Example.COM', 443, true],
    ['example.com:8443', 'example.com', 8443, true],
    ['example.com:8443', 'example.com', 443, false],
    ['10.0.0.0/8', '10.1.2.3', 443, true],
    ['10.0.0.0/8', '11.1.2.3', 443, false],
    ['10.1.2.3:80', '10.1.2.3', 80, true],
    ['10.1.2.3', '10.1.2.30', 80, false],
    ['fd00::/8', 'fd12::1', 443, true],
    ['[fd12::1]:443', 'fd12::1', 443, true],
    ['fd12::1', '[fd12::1]', 443, true],
    ['10.0.0.0/99', '10.0.0.1', 443, false],
    ['*', 'iot.eu-west-1.amazonaws.com', 443, true],
    ['a, b  c,,d', 'c', 443, true],
    ['', 'iot.eu-west-1.amazonaws.com', 443, false],
    ['', '127.0.0.1', 80, true],
    ['', 'localhost', 80, true],
    ['', '[::1]', 80, true],
  ])('"%s": %s, port %i, is reached directly: %s', (noProxy, host, port, directly) => {
    expect(createBypass(noProxy)(host, port)).toBe(directly);
  });
});

describe('the settings of the proxy', () => {
  it('are read in upper and in lower case, upper case first', () => {
    const env = {
      https_proxy: 'http://low:1',
      HTTP_PROXY: 'http://up:2',
      http_proxy: 'http://low:2',
      no_proxy: 'a,b',
      HTTPS_PROXY: ' ',
    };
    expect(loadSettings(env).proxy).toEqual({ https: 'http://low:1', http: 'http://up:2', except: 'a,b' });
    expect(loadSettings({}).proxy).toEqual({});
  });
});

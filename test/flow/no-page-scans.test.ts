import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createApp } from '../../app/app.ts';
import { setUpAws } from '../../app/aws-setup.ts';
import { startConsolePart } from '../../app/console.ts';
import { type AwsLocal, startAwsLocal } from '../../aws-local/main.ts';
import { createApiToken } from '../../console/api-tokens.ts';
import { directoryStates } from '../../queue/directory.ts';
import { redisAt } from '../../queue/redis.ts';
import { createDirectoryKeeper } from '../../queue/redis-directory.ts';
import { directoryKeys, rosterKeys, seenCertificatesKey } from '../../queue/stored-keys.ts';
import { createLog } from '../../runtime/log.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { tlsOptions } from '../../site-tls/material.ts';
import { loadTlsMaterial } from '../../site-tls/site-ca.ts';
import { lacks } from '../support/lacks.ts';
import { until } from '../support/network.ts';
import { monitorRedis } from '../support/redis-monitor.ts';
import { redisServers, type Server } from '../support/redis-servers.ts';

const many = 20_000;
const serialOf = (index: number) => `SN-${String(index).padStart(6, '0')}`;
const states = ['registered', 'enrolled', 'blocked', 'provisioning'] as const;

/** Commands that read all keys, or step through one. */
const scans = ['keys', 'scan', 'hscan', 'sscan', 'zscan', 'randomkey', 'sort', 'sort_ro'];

/** What a page may ask of a key that has an entry for each device: its cost does not grow with them, but for the logarithm. */
const ofAllDevices: readonly string[] = [
  rosterKeys.entries,
  seenCertificatesKey,
  ...directoryStates.flatMap((state) => [false, true].map((ofSite) => directoryKeys.of(state, ofSite))),
];
const bounded = ['zrangebylex', 'zlexcount', 'zcard', 'hlen', 'hexists', 'hget', 'hmget'];
const mostOfAPage = 1000;

/** Commands about all devices for one call: a walk for similar serials takes some hundred. */
const mostCommands = 500;

type Asked = {
  readonly path: string;
  readonly method?: string;
  readonly body?: unknown;
  readonly type?: string;
  /** of the answer; 200 unless given */
  readonly status?: number;
};

/** Every question that a page asks, and every call of the API: its path as the API describes it, and as it is asked here. */
const calls: readonly (readonly [route: string, asked: Asked])[] = [
  ['GET /now', { path: '/now' }],
  ['GET /session', { path: '/session' }],
  ['GET /settings', { path: '/settings' }],
  ['GET /help', { path: '/help' }],
  ['GET /line', { path: '/line' }],
  ['GET /events', { path: '/events' }],
  ['GET /audit', { path: '/audit' }],
  ['GET /audit', { path: `/audit?serial=${serialOf(1)}` }],
  ['GET /audit/verify', { path: '/audit/verify' }],
  ['GET /devices', { path: '/devices' }],
  ['GET /devices', { path: `/devices?limit=200&after=${serialOf(many / 2)}` }],
  ['GET /devices', { path: '/devices?prefix=SN-01' }],
  ['GET /devices', { path: '/devices?state=blocked' }],
  ['GET /devices', { path: '/devices?site=plant-1' }],
  ['GET /devices', { path: '/devices?site=elsewhere' }],
  ['GET /devices', { path: '/devices?silent=true' }],
  ['GET /devices', { path: `/devices?prefix=SN-0&state=registered&site=plant-1&after=${serialOf(77)}` }],
  ['GET /devices/{serial}', { path: `/devices/${serialOf(1)}` }],
  ['GET /devices/{serial}', { path: '/devices/NOBODY' }],
  ['GET /devices/{serial}', { path: '/devices/sn_oIzs4' }],
  ['GET /devices/{serial}', { path: `/devices/${'O'.repeat(128)}` }],
  ['POST /devices', { method: 'POST', path: '/devices', body: { serial: 'NEW-1' }, status: 201 }],
  ['GET /devices/{serial}', { path: '/devices/NEW-1' }],
  ['POST /devices/{serial}/reissue', { method: 'POST', path: '/devices/NEW-1/reissue' }],
  ['POST /devices/{serial}/block', { method: 'POST', path: '/devices/NEW-1/block' }],
  ['POST /devices/{serial}/unblock', { method: 'POST', path: '/devices/NEW-1/unblock' }],
  [
    'POST /devices/labels/check',
    { method: 'POST', path: '/devices/labels/check', body: { labels: [{ serial: 'NEW-1', token: 'none' }] } },
  ],
  ['POST /devices/bulk', { method: 'POST', path: '/devices/bulk', body: { action: 'block', serials: ['NEW-1'] } }],
  ['DELETE /devices/{serial}', { method: 'DELETE', path: '/devices/NEW-1' }],
  [
    'POST /devices/import/preview',
    { method: 'POST', path: '/devices/import/preview', body: 'serial\nA1\nA2\n', type: 'text/csv' },
  ],
  ['POST /devices/import', { method: 'POST', path: '/devices/import', body: 'serial\nA1\nA2\n', type: 'text/csv' }],
  ['POST /line/{requestId}/front', { method: 'POST', path: '/line/some-request/front', status: 404 }],
];

describe.skipIf(lacks('redis-server'))('with many devices, the console', () => {
  const servers = redisServers();
  const dataDir = mkdtempSync(join(tmpdir(), 'cvm-no-scans-'));
  const log = createLog('silent');
  const closers: (() => Promise<unknown>)[] = [];
  let aws: AwsLocal;
  let server: Server;
  const seen: (readonly string[])[] = [];
  let call: (asked: Asked) => Promise<{ readonly status: number; readonly text: string }>;

  beforeAll(async () => {
    aws = await startAwsLocal({ dataDir: join(dataDir, 'aws-local'), httpPort: 0, mqttPort: 0, quotas: 'off' });
    closers.unshift(() => aws.close());
    server = await servers.server([]);
    const redis = redisAt(`redis://127.0.0.1:${server.port}`);
    const settings = {
      ...loadSettings({
        ...{ CVM_DATA_DIR: dataDir, CVM_CONSOLE_PORT: '0', CVM_LISTEN: '127.0.0.1', CVM_HOSTNAMES: 'localhost' },
        ...{ CVM_SITE: 'plant-1', CVM_ROOT_CA: aws.rootCaFile, CVM_QUOTAS: 'off' },
      }),
      aws: {
        region: 'us-east-1',
        endpoint: aws.httpUrl,
        credentials: { accessKeyId: 'test', secretAccessKey: 'test' },
      },
    };
    await setUpAws(settings);
    const app = createApp(settings, log);
    closers.unshift(() => app.lifecycle.close());
    await fill(redis, server);
    const { port } = await startConsolePart(app, redis, {});
    const endMonitor = await monitorRedis(
      `redis://127.0.0.1:${server.port}`,
      ({ command, args }) => void seen.push([command, ...args]),
    );
    closers.unshift(async () => endMonitor());
    const made = await createApiToken(dataDir, { name: 'page', role: 'operator' }, Date.now());
    if (made.outcome !== 'created') throw new Error(made.outcome);
    const { caPem } = await loadTlsMaterial(tlsOptions(settings));
    const ask = caller(port, caPem ?? '', made.token);
    // all calls together are more than one caller may make in ten seconds
    call = async (asked) => {
      for (;;) {
        const answer = await ask(asked);
        if (answer.status !== 429) return answer;
        await new Promise((resolve) => setTimeout(resolve, 1000));
      }
    };
    await until(async () => (await call({ path: '/devices' })).status === 200, 60_000, 'the console has its Redis');
  });
  afterAll(async () => {
    for (const close of closers) await close();
    await servers.close();
    rmSync(dataDir, { recursive: true, force: true });
  });

  async function fill(redis: ReturnType<typeof redisAt>, { redis: client }: Server): Promise<void> {
    const keeper = createDirectoryKeeper(redis, log);
    closers.push(() => keeper.close());
    await until(
      () =>
        keeper.isComplete().then(
          () => true,
          () => false,
        ),
      60_000,
      'the keeper has its connection',
    );
    await keeper.clear();
    const all = Array.from({ length: many }, (_, index) => index);
    await keeper.fill(
      all.map((index) => ({
        serial: serialOf(index),
        state: states[index % states.length] ?? 'enrolled',
        ofSite: index % 2 === 0,
      })),
    );
    await keeper.setComplete();
    await client.hset(rosterKeys.entries, Object.fromEntries(all.map((index) => [serialOf(index), 'x'.repeat(200)])));
  }

  /** Commands that Redis got since the last call, those from within scripts too. */
  async function takeCommands(): Promise<readonly (readonly string[])[]> {
    const mark = randomUUID();
    await server.redis.echo(mark);
    await until(async () => seen.some((args) => args[1] === mark), 60_000, 'the monitor has come so far');
    return seen.splice(0);
  }
  const callsOfAws = async () =>
    (await (await fetch(`${aws.httpUrl}/_local/stats`)).json()) as Record<string, { calls: number } | undefined>;

  it.each(calls)('makes no scan, and reads no key of all devices as a whole: %s %o', async (_route, asked) => {
    await takeCommands();
    const before = await callsOfAws();
    const answer = await call(asked);
    expect(answer.status, answer.text).toBe(asked.status ?? 200);
    const commands = await takeCommands();
    expect(commands.filter(([name = '']) => scans.includes(name))).toEqual([]);
    const aboutAll = commands.filter((args) => args.some((arg) => ofAllDevices.includes(arg)));
    expect(aboutAll.filter((args) => !isBounded(args))).toEqual([]);
    expect(aboutAll.length).toBeLessThan(mostCommands);
    const after = await callsOfAws();
    for (const name of ['DynamoDB.Scan', 'DynamoDB.Query']) expect(after[name]?.calls).toEqual(before[name]?.calls);
  });

  it('names similar serials to all who ask at the same time', async () => {
    const asked = Array.from({ length: 8 }, (_, index) => `sn_oIzs${index}`);
    const answers = await Promise.all(asked.map((serial) => call({ path: `/devices/${serial}` })));
    expect(answers.map(({ text }) => (JSON.parse(text) as { near?: string[] }).near)).toEqual(
      asked.map((_, index) => Array.from({ length: 5 }, (_each, last) => `SN-0125${index}${last}`)),
    );
  });

  it('is asked here for everything that its API has', async () => {
    const { text } = await call({ path: '/openapi.json' });
    const { paths } = JSON.parse(text) as { paths: Record<string, Record<string, unknown>> };
    const routes = Object.entries(paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path.replace('/api/v1', '')}`),
    );
    const elsewhere = ['POST /session', 'DELETE /session', 'GET /openapi.json'];
    const known = new Set([...calls.map(([route]) => route), ...elsewhere]);
    expect(routes.filter((route) => !known.has(route))).toEqual([]);
  });
});

function isBounded([name = '', ...args]: readonly string[]): boolean {
  const limit = args.findIndex((arg) => arg.toLowerCase() === 'limit');
  return bounded.includes(name) && (name !== 'zrangebylex' || (limit > 0 && Number(args[limit + 2]) <= mostOfAPage));
}

function caller(port: number, ca: string, token: string) {
  return ({ path, method = 'GET', body, type = 'application/json' }: Asked) =>
    new Promise<{ readonly status: number; readonly text: string }>((resolve, reject) => {
      const to = { host: '127.0.0.1', port, ca, servername: 'localhost', agent: false as const };
      const headers = { authorization: `Bearer ${token}`, ...(body === undefined ? {} : { 'content-type': type }) };
      const sent = request({ ...to, method, path: `/api/v1${path}`, headers }, (answer) => {
        const chunks: Buffer[] = [];
        answer.on('data', (chunk: Buffer) => chunks.push(chunk)).on('error', reject);
        // a stream has no end: what comes first is the whole page "now", and the line
        if (answer.headers['content-type']?.startsWith('text/event-stream'))
          answer
            .on('data', () => /event: line/.test(Buffer.concat(chunks).toString()) && answer.destroy())
            .on('close', () => done(answer));
        answer.on('end', () => done(answer));
        const done = ({ statusCode = 0 }: typeof answer) =>
          resolve({ status: statusCode, text: Buffer.concat(chunks).toString() });
      });
      sent.on('error', reject);
      sent.end(body === undefined || typeof body === 'string' ? body : JSON.stringify(body));
    });
}

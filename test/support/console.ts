import { mkdtempSync, rmSync } from 'node:fs';
import { type Agent, request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { startConsole } from '../../console/console.ts';
import { ensurePassword } from '../../console/password.ts';
import { explain } from '../../operator/timeline.ts';
import { redisAt } from '../../queue/redis.ts';
import { createSessionStore, type SignInLimits } from '../../queue/redis-console-sessions.ts';
import { createDirectory, createDirectoryKeeper } from '../../queue/redis-directory.ts';
import { createLineOverview } from '../../queue/redis-line-overview.ts';
import { createLiveFeed } from '../../queue/redis-live.ts';
import { liveChannel } from '../../queue/stored-keys.ts';
import { createLog } from '../../runtime/log.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { tlsOptions } from '../../site-tls/material.ts';
import { loadTlsMaterial } from '../../site-tls/site-ca.ts';
import { auditOf } from '../../telemetry/audit-events.ts';
import { until } from './network.ts';
import { createMemoryOperator } from './operator.ts';
import { redisServers } from './redis-servers.ts';

export type Answer = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  /** of JSON */
  // biome-ignore lint/suspicious/noExplicitAny: a test says itself what it expects
  readonly body: any;
};

export type Call = {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** an object is sent as JSON */
  readonly body?: unknown;
  readonly agent?: Agent;
};

/** A console on a real Redis and TLS, with devices in memory. */
export async function startTestConsole({
  env = {},
  signIn,
  deps: own = {},
}: {
  readonly env?: Readonly<Record<string, string>>;
  readonly signIn?: SignInLimits;
  readonly deps?: Partial<Parameters<typeof startConsole>[0]>;
} = {}) {
  const dataDir = mkdtempSync(join(tmpdir(), 'cvm-console-'));
  const servers = redisServers();
  const server = await servers.server([]);
  const redis = redisAt(`redis://127.0.0.1:${server.port}`);
  const logLines: string[] = [];
  const log = createLog(
    'debug',
    new Writable({
      write(chunk: Buffer, _encoding, done) {
        logLines.push(chunk.toString());
        done();
      },
    }),
  );
  const settings = loadSettings({ CVM_DATA_DIR: dataDir, CVM_CONSOLE_PORT: '0', CVM_LISTEN: '127.0.0.1', ...env });
  const tls = await loadTlsMaterial(tlsOptions(settings));
  const password = (await ensurePassword(dataDir)) ?? '';
  const operator = createMemoryOperator();
  const sessions = createSessionStore(redis, log, signIn);
  const [directory, keeper] = [createDirectory(redis, log), createDirectoryKeeper(redis, log)];
  const live = createLiveFeed(redis, log);
  const overview = createLineOverview(redis, log);
  const line = { ...overview, state: async () => ({ length: (await overview.first(1000)).length, perSecond: 2 }) };
  const deps: Parameters<typeof startConsole>[0] = {
    settings,
    tls: { cert: tls.cert, key: tls.key, names: tls.names },
    pages: new Map(),
    sessions,
    directory,
    live,
    line,
    status: async () => ({ at: new Date().toISOString(), ok: true, checks: [] }),
    explain: async (serial) =>
      explain({
        ...{ serial, device: await operator.registry.find(serial), now: operator.deps.now() },
        ...{ records: [], sightings: [], nameless: [], near: [], health: {} },
        ...{ table: operator.deps.table, replayWindowMs: settings.replayWindowMs },
      }),
    settingsShown: [],
    help: [],
    operator: (by) => ({ ...operator.deps, audit: auditOf(operator.deps.audit, by) }),
    audit: operator.deps.audit,
    version: '0.0.0',
    log,
    now: Date.now,
    ...own,
  };
  const console = await startConsole(deps);
  // what a test enters or asks first must not come before the connection that it needs
  const isReady = () =>
    Promise.all([keeper.isComplete(), directory.counts(), overview.first(1)]).then(
      () => true,
      () => false,
    );
  await until(isReady, 60_000, 'the console has its connections');
  // Redis keeps no event for a console that does not listen yet
  const listens = async () => Number((await server.redis.pubsub('NUMSUB', liveChannel))[1]) > 0;
  await until(listens, 60_000, 'the console listens to what happens');

  const call = (path: string, { method = 'GET', headers = {}, body, agent }: Call = {}): Promise<Answer> =>
    new Promise((resolve, reject) => {
      const isText = typeof body === 'string';
      const sent = request(
        {
          ...{ host: '127.0.0.1', port: console.port, path, method, ca: tls.caPem, servername: 'localhost' },
          ...(agent === undefined ? { agent: false } : { agent }),
          headers: { ...(body === undefined || isText ? {} : { 'content-type': 'application/json' }), ...headers },
        },
        (answer) => {
          const chunks: Buffer[] = [];
          answer.on('data', (chunk: Buffer) => chunks.push(chunk));
          answer.on('error', reject);
          answer.on('end', () => {
            const text = Buffer.concat(chunks).toString();
            resolve({ status: answer.statusCode ?? 0, headers: answer.headers, text, body: parse(text) });
          });
        },
      );
      sent.on('error', reject);
      sent.end(body === undefined ? undefined : isText ? body : JSON.stringify(body));
    });
  const api = (path: string, options?: Call) => call(`/api/v1${path}`, options);

  /** Signs in. @returns the same calls, made by that browser */
  const browser = async (withPassword = password, headers: Readonly<Record<string, string>> = {}) => {
    const answer = await api('/session', { method: 'POST', body: { password: withPassword }, headers });
    if (answer.status !== 200) throw new Error(`signing in was answered ${answer.status} ${answer.text}`);
    const [cookie = ''] = (answer.headers['set-cookie'] as string[])[0]?.split(';') ?? [];
    const { csrf } = answer.body as { csrf: string };
    return {
      cookie,
      csrf,
      answer,
      api: (path: string, options: Call = {}) =>
        api(path, { ...options, headers: { ...headers, cookie, 'x-csrf-token': csrf, ...options.headers } }),
    };
  };

  return {
    ...{
      port: console.port,
      ca: tls.caPem ?? '',
      dataDir,
      password,
      operator,
      redis,
      server,
      keeper,
      directory,
      settings,
    },
    ...{ call, api, browser, logText: () => logLines.join(''), watchers: console.watchers },
    async close() {
      await console.close();
      await Promise.all([sessions.close(), directory.close(), keeper.close(), live.close(), overview.close()]);
      await servers.close();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

export type TestConsole = Awaited<ReturnType<typeof startTestConsole>>;

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

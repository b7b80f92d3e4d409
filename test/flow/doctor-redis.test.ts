import { randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { quotaRule } from '../../aws/quota-buckets.ts';
import { redisAt } from '../../queue/redis.ts';
import { createQuotaBuckets } from '../../queue/redis-quota-buckets.ts';
import { tableKeyKey } from '../../queue/stored-keys.ts';
import { defaultAwsQuotas } from '../../runtime/aws-quotas.ts';
import { createLog } from '../../runtime/log.ts';
import { signingKeyFrom } from '../../sealing/signing.ts';
import { pinTableKey } from '../../site-tls/table-key.ts';
import { about, examine } from '../support/doctor.ts';
import { lacks } from '../support/lacks.ts';
import { freePort } from '../support/network.ts';
import { isolated, runCvm, silentServer } from '../support/program.ts';
import { redisServers, type Server } from '../support/redis-servers.ts';

const redisChecks = [
  'redis',
  ...['redis-version', 'redis-append-only', 'redis-eviction', 'redis-memory', 'redis-disk', 'redis-password'],
  'redis-clock',
];

describe.skipIf(lacks('redis-server'))('cvm doctor, of Redis', () => {
  const servers = redisServers();
  let dataDir: string;
  let server: Server;
  beforeAll(async () => {
    dataDir = mkdtempSync(join(tmpdir(), 'cvm-doctor-redis-'));
    server = await servers.server(['appendonly yes', 'requirepass secret-of-redis']);
  });
  afterAll(async () => {
    await servers.close();
    rmSync(dataDir, { recursive: true, force: true });
  });
  const url = (password = 'secret-of-redis', port = server.port) => `redis://:${password}@127.0.0.1:${port}/0`;
  const look = (REDIS_URL = url(), fix = false) =>
    examine({ dataDir, env: { REDIS_URL }, quick: true, only: redisChecks, fix });

  it('finds nothing in a Redis that keeps its promises', async () => {
    expect((await look()).map(({ id, outcome }) => `${id} ${outcome}`)).toEqual(redisChecks.map((id) => `${id} ok`));
  });

  it('names one that is away, silent, or refuses the password, and skips what it cannot look at', async () => {
    const silent = await silentServer();
    const away = await look(url('x', await freePort()));
    expect(about(away, 'redis')).toMatch(/fail: .*ECONNREFUSED.* start it/);
    expect(about(away, 'redis-eviction')).toMatch(/^skipped: not known while Redis is away/);
    expect(about(await look(url('x', silent.port)), 'redis')).toMatch(/fail: /);
    const refused = await look(url('wrong-secret'));
    expect(about(refused, 'redis')).toMatch(/fail: .*WRONGPASS.*CVM_REDIS_PASSWORD_FILE/);
    expect(JSON.stringify(refused)).not.toContain('wrong-secret');
    silent.close();
  });

  it('raises no alarm about a managed service that has no CONFIG, and says in --fix what it cannot do', async () => {
    const { port, redis } = await servers.server(['appendonly yes', 'rename-command CONFIG ""']);
    const found = await look(`redis://127.0.0.1:${port}/0`);
    expect(found.filter(({ outcome }) => outcome !== 'ok')).toEqual([]);
    redis.disconnect();
    const other = await servers.server(['appendonly no', 'rename-command CONFIG ""']);
    const fixed = await look(`redis://127.0.0.1:${other.port}/0`, true);
    expect(fixed.find(({ id }) => id === 'redis-append-only')?.fix).toMatch(
      /^could not be mended: this Redis does not let it be set .*managed service/,
    );
  });

  it('names one that keeps requests in memory alone, and sets appendonly with --fix', async () => {
    await server.redis.config('SET', 'appendonly', 'no');
    expect(about(await look(), 'redis-append-only')).toMatch(/fail: appendonly no .*--fix/);
    const fixed = (await look(url(), true)).find(({ id }) => id === 'redis-append-only');
    expect(fixed?.fix).toMatch(/^mended: appendonly yes is set/);
    expect(about(await look(), 'redis-append-only')).toMatch(/^ok: appendonly yes/);
    await server.redis.config('SET', 'appendfsync', 'no');
    expect(about(await look(), 'redis-append-only')).toMatch(/warn: appendfsync no/);
    await server.redis.config('SET', 'appendfsync', 'everysec');
  });

  it('names one that drops keys, one that is nearly full, and one that is full', async () => {
    await server.redis.config('SET', 'maxmemory-policy', 'allkeys-lru');
    expect(about(await look(), 'redis-eviction')).toMatch(/fail: maxmemory-policy allkeys-lru .*noeviction/);
    await server.redis.config('SET', 'maxmemory-policy', 'noeviction');
    const used = Number(/used_memory:(\d+)/.exec(await server.redis.info('memory'))?.[1]);
    await server.redis.config('SET', 'maxmemory', String(Math.round(used * 1.1)));
    expect(about(await look(), 'redis-memory')).toMatch(/warn: .* used .*raise maxmemory/);
    await server.redis.config('SET', 'maxmemory', '1');
    expect(about(await look(), 'redis')).toMatch(/fail: .*OOM.*raise its maxmemory/);
    await server.redis.config('SET', 'maxmemory', '0');
  });

  it('names a replica, and a Redis that could not write its disk', async () => {
    await server.redis.replicaof('127.0.0.1', 1);
    expect(about(await look(), 'redis')).toMatch(/fail: .*READONLY.*name its master in REDIS_URL/);
    await server.redis.replicaof('NO', 'ONE');
    const gone = mkdtempSync(join(tmpdir(), 'cvm-redis-gone-'));
    const { redis, port } = await servers.server([
      'appendonly no',
      'stop-writes-on-bgsave-error no',
      'enable-protected-configs yes',
    ]);
    await redis.config('SET', 'dir', gone);
    rmSync(gone, { recursive: true });
    await redis.bgsave().catch(() => {});
    const found = () => look(`redis://127.0.0.1:${port}/0`);
    await expect.poll(async () => about(await found(), 'redis-disk')).toMatch(/fail: the last snapshot failed/);
  });

  it('names a user of Redis who may not run scripts, or may not use channels; cvm status says the same', async () => {
    const [noScripts, noChannels] = ['-@scripting', 'resetchannels'];
    for (const [name, rule] of [
      ['scriptless', noScripts],
      ['silent', noChannels],
    ] as const) {
      const all = ['on', '>secret-of-user', '~*', '&*', '+@all', rule];
      await server.redis.call('ACL', 'SETUSER', name, ...all);
      const REDIS_URL = `redis://${name}:secret-of-user@127.0.0.1:${server.port}/0`;
      expect(about(await look(REDIS_URL), 'redis'), name).toMatch(/fail: .* refuses .*NOPERM.*ACL SETUSER name/);
      const status = runCvm(['status', '--json'], { ...isolated(dataDir), REDIS_URL });
      await status.ended;
      const redis = JSON.parse(/^\{.*$/m.exec(status.text())?.[0] ?? '').checks.find(
        ({ id }: { id: string }) => id === 'redis',
      );
      expect(redis, name).toMatchObject({ state: 'failed', cure: expect.stringContaining('ACL SETUSER name') });
    }
  });

  it('says that what answers is no Redis, and not to report a mistake of a library', async () => {
    const other = createServer((socket) => {
      socket.on('error', () => {});
      socket.end('HTTP/1.1 400 Bad Request\r\n\r\n');
    });
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const found = about(await look(url('x', (other.address() as AddressInfo).port)), 'redis');
    other.close();
    expect(found).toMatch(/fail: .*What answers at this address is no Redis/);
    expect(found).not.toContain('Please report');
  });

  it('names workers of two tables on one Redis', async () => {
    const [own, other] = [signingKeyFrom(randomBytes(32)), signingKeyFrom(randomBytes(32))];
    await pinTableKey(dataDir, own.publicKey);
    await server.redis.set(tableKeyKey, other.publicKey);
    const found = () => examine({ dataDir, env: { REDIS_URL: url() }, only: ['one-table'] });
    expect(about(await found(), 'one-table')).toMatch(/fail: Redis has the key .* a Redis .* of its own/);
    await server.redis.set(tableKeyKey, own.publicKey);
    expect(about(await found(), 'one-table')).toMatch(/^ok/);
  });

  it('names a quota that AWS has throttled', async () => {
    const buckets = createQuotaBuckets(redisAt(url()), createLog('silent'), defaultAwsQuotas, quotaRule);
    await expect
      .poll(() =>
        buckets.throttled('CreateThing', 0).then(
          () => true,
          () => false,
        ),
      )
      .toBe(true);
    await buckets.close();
    const found = await examine({ dataDir, env: { REDIS_URL: url() }, quick: true, only: ['quotas'] });
    expect(about(found, 'quotas')).toMatch(/warn: AWS throttled CreateThing: .* of 100 .*Service Quotas/);
  });

  it('names the part that does not run', async () => {
    const found = await examine({ dataDir, env: { REDIS_URL: url() }, only: ['processes'] });
    expect(about(found, 'processes')).toMatch(/warn: no broker runs .*\nwarn: no worker runs/);
  });

  it('is said by a broker at its start, each fault with its cure, and not what the start says already', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'cvm-doctor-start-'));
    chmodSync(folder, 0o755);
    // of others: what is left is enough for a start
    await server.redis.set('filler', 'x'.repeat(30_000_000));
    await server.redis.config('SET', 'maxmemory', '37000000');
    await server.redis.config('SET', 'appendonly', 'no');
    const run = runCvm(['broker'], { ...isolated(folder), REDIS_URL: url(), CVM_NEW_SITE: '1', CVM_HOSTNAMES: 'gw' });
    await run.says(/"check":"redis-memory"/);
    await run.says(/append-only/);
    run.child.kill('SIGTERM');
    await run.ended;
    await server.redis.config('SET', 'maxmemory', '0');
    await server.redis.del('filler');
    rmSync(folder, { recursive: true });
    const lines = run
      .text()
      .split('\n')
      .filter((line) => line.includes('"check":'));
    expect(lines.map((line) => (JSON.parse(line) as { check: string }).check)).toEqual(['data-folder', 'redis-memory']);
    for (const line of lines) expect(line).toMatch(/"cure":"\w/);
    expect(run.text().match(/append-only/g)).toHaveLength(1);
  });
});

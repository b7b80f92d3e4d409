import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { takeLock } from '../../runtime/lock.ts';
import { lacks } from '../support/lacks.ts';
import { isolated, processesIn, programRuns, type Run, silentServer } from '../support/program.ts';
import { full, sampled } from '../support/size.ts';

const signals = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;

/** Longer than any stop may take; the tests do not measure it. */
const patience = 30_000;

describe.skipIf(lacks('redis-server'))('a signal ends', () => {
  let dataDir: string;
  let silent: Awaited<ReturnType<typeof silentServer>>;
  const runs = programRuns();
  const start = (argv: readonly string[], env: Record<string, string> = {}) =>
    runs.start(argv, { ...isolated(dataDir), ...env });
  const redisFolder = () => join(dataDir, 'redis');
  const frozenRedis = () => {
    for (const pid of processesIn(redisFolder())) process.kill(pid, 'SIGSTOP');
  };
  /** AWS that takes calls and answers none */
  const stalledAws = () => ({
    AWS_REGION: 'us-east-1',
    AWS_ACCESS_KEY_ID: 'x',
    AWS_SECRET_ACCESS_KEY: 'x',
    AWS_ENDPOINT_URL: `http://127.0.0.1:${silent.port}`,
  });
  const noRedis = { REDIS_URL: 'redis://127.0.0.1:1/0' };
  const asked = () => expect.poll(silent.connections, { timeout: patience }).toBeGreaterThan(0);

  beforeAll(async () => {
    silent = await silentServer();
  });
  afterAll(() => silent.close());
  beforeEach(() => {
    dataDir = mkdtempSync(join(tmpdir(), 'cvm-stop-'));
  });
  afterEach(async () => {
    await runs.end('SIGKILL');
    for (const pid of processesIn(redisFolder())) process.kill(pid, 'SIGKILL');
    rmSync(dataDir, { recursive: true, force: true });
  });

  async function endsBy(run: Run, signal: NodeJS.Signals): Promise<void> {
    run.child.kill(signal);
    const { status } = await run.ended;
    expect([status, run.text()]).toEqual([0, expect.not.stringMatching(/^ +at /m)]);
    expect(processesIn(redisFolder())).toEqual([]);
  }

  it.each(sampled(signals))('a gateway that runs, and leaves no Redis behind: %s', async (signal) => {
    const run = start(['up', '--local-aws']);
    await run.says(/broker is listening/);
    await endsBy(run, signal);
  });

  it('a gateway whose Redis is frozen', async () => {
    const run = start(['up', '--local-aws']);
    await run.says(/broker is listening/);
    frozenRedis();
    await endsBy(run, 'SIGTERM');
  });

  it.runIf(full)('a gateway in the middle of its first start, while Redis, keys and the CA are made', async () => {
    for (const said of [/^/, /the AWS stand-in is listening/, /worker is waiting/]) {
      const run = start(['up', '--local-aws']);
      if (said.source === '^')
        await expect.poll(() => processesIn(redisFolder()).length, { timeout: patience }).toBe(1);
      else await run.says(said);
      await endsBy(run, 'SIGTERM');
      rmSync(dataDir, { recursive: true });
      mkdirSync(dataDir);
    }
  });

  it('at once when it is the second', async () => {
    const run = start(['up', '--local-aws']);
    await run.says(/broker is listening/);
    frozenRedis();
    run.child.kill('SIGTERM');
    await run.says(/"closing"/);
    run.child.kill('SIGHUP');
    expect((await run.ended).status).toBe(129);
    await expect.poll(() => processesIn(redisFolder())).toEqual([]);
  });

  it('a broker that waits for Redis', async () => {
    const run = start(['broker'], noRedis);
    await run.says(/Redis is away/);
    await endsBy(run, 'SIGHUP');
  });

  it.runIf(full)('a broker that waits for another process at its folder', async () => {
    mkdirSync(join(dataDir, 'tls'));
    const lock = await takeLock(join(dataDir, 'tls', 'lock'), 0);
    const run = start(['broker'], noRedis);
    await new Promise((resolve) => setTimeout(resolve, 3000));
    run.child.kill('SIGTERM');
    // on a busy machine it may not have come so far: then the signal ends it without its doing
    const { status, signal } = await run.ended;
    expect(signal ?? status).toBeOneOf([0, 'SIGTERM']);
    lock.release();
  });

  it.runIf(full)('a worker without Redis, whose AWS answers nothing', async () => {
    const run = start(['worker'], { ...noRedis, ...stalledAws() });
    await run.says(/Redis is away/);
    await asked();
    await endsBy(run, 'SIGTERM');
  });

  it('a gateway whose AWS answers nothing', async () => {
    const run = start(['up'], { ...stalledAws(), CVM_NEW_SITE: '1' });
    await run.says(/broker is listening/);
    await endsBy(run, 'SIGINT');
  });

  it('the stand-in', async () => {
    const run = start(['aws-local']);
    await run.says(/the AWS stand-in is listening/);
    await endsBy(run, 'SIGHUP');
  });

  it.each(
    sampled([
      ['sweep', ['sweep']],
      ['import', ['devices', 'import', 'devices.csv']],
      ['setup', ['aws', 'setup']],
    ] as const),
  )('a command that waits for AWS: %s', async (_what, argv) => {
    const file = join(dataDir, 'devices.csv');
    writeFileSync(file, 'serial\nSN-1\n');
    const before = silent.connections();
    const run = start(
      argv.map((word) => (word === 'devices.csv' ? file : word)),
      stalledAws(),
    );
    await expect.poll(silent.connections, { timeout: patience }).toBeGreaterThan(before);
    run.child.kill('SIGTERM');
    const { status, signal } = await run.ended;
    expect(signal ?? status).toBe('SIGTERM');
    expect(run.text()).not.toMatch(/^ +at /m);
  });
});

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'vitest';
import { takeLock } from '../../runtime/lock.ts';
import { lacks } from '../support/lacks.ts';
import { isolated, processesIn, programRuns, type Run, silentServer } from '../support/program.ts';
import { full, sampled } from '../support/size.ts';

const signals = ['SIGTERM', 'SIGINT', 'SIGHUP'] as const;

/** Longer than any stop may take; the tests do not measure it. */
const patience = 45_000;

const noRedis = { REDIS_URL: 'redis://127.0.0.1:1/0' };

/** The data folder of one test, the programs that run on it, and an AWS that takes calls and answers none. All end with the test. */
async function openSite({ expect, onTestFinished }: TestContext) {
  const dataDir = mkdtempSync(join(tmpdir(), 'cvm-stop-'));
  const redisFolder = join(dataDir, 'redis');
  const silent = await silentServer();
  const runs = programRuns();
  onTestFinished(async () => {
    await runs.end('SIGKILL');
    for (const pid of processesIn(redisFolder)) process.kill(pid, 'SIGKILL');
    silent.close();
    rmSync(dataDir, { recursive: true, force: true });
  });
  return {
    dataDir,
    redisFolder,
    start: (argv: readonly string[], env: Record<string, string> = {}) =>
      runs.start(argv, { ...isolated(dataDir), ...env }),
    freezeRedis() {
      for (const pid of processesIn(redisFolder)) process.kill(pid, 'SIGSTOP');
    },
    stalledAws: {
      AWS_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: 'x',
      AWS_SECRET_ACCESS_KEY: 'x',
      AWS_ENDPOINT_URL: `http://127.0.0.1:${silent.port}`,
    },
    asked: () => expect.poll(silent.connections, { timeout: patience }).toBeGreaterThan(0),
    async endsBy(run: Run, signal: NodeJS.Signals): Promise<void> {
      run.child.kill(signal);
      const { status } = await run.ended;
      expect([status, run.text()]).toEqual([0, expect.not.stringMatching(/^ +at /m)]);
      await expect.poll(() => processesIn(redisFolder)).toEqual([]);
    },
  };
}

// most of them wait for a time limit, so they wait at the same time
describe.skipIf(lacks('redis-server')).concurrent('a signal ends', () => {
  it.for(sampled(signals))('a gateway that runs, and leaves no Redis behind: %s', async (signal, test) => {
    const { start, endsBy } = await openSite(test);
    const run = start(['up', '--local-aws']);
    await run.says(/broker is listening/);
    await endsBy(run, signal);
  });

  it('a gateway whose Redis is frozen', async (test) => {
    const { start, freezeRedis, endsBy } = await openSite(test);
    const run = start(['up', '--local-aws']);
    await run.says(/broker is listening/);
    freezeRedis();
    await endsBy(run, 'SIGTERM');
  });

  it.runIf(full)(
    'a gateway in the middle of its first start, while Redis, keys and the CA are made',
    async (test) => {
      const { expect } = test;
      const { dataDir, redisFolder, start, endsBy } = await openSite(test);
      for (const said of [/^/, /the AWS stand-in is listening/, /worker is waiting/]) {
        const run = start(['up', '--local-aws']);
        if (said.source === '^')
          await expect.poll(() => processesIn(redisFolder).length, { timeout: patience }).toBe(1);
        else await run.says(said);
        await endsBy(run, 'SIGTERM');
        rmSync(dataDir, { recursive: true });
        mkdirSync(dataDir);
      }
    },
    180_000,
  );

  it('at once when it is the second', async (test) => {
    const { expect } = test;
    const { redisFolder, start, freezeRedis } = await openSite(test);
    const run = start(['up', '--local-aws']);
    await run.says(/broker is listening/);
    freezeRedis();
    run.child.kill('SIGTERM');
    await run.says(/"closing"/);
    run.child.kill('SIGHUP');
    expect((await run.ended).status).toBe(129);
    await expect.poll(() => processesIn(redisFolder)).toEqual([]);
  });

  it('a broker that waits for Redis', async (test) => {
    const { start, endsBy } = await openSite(test);
    const run = start(['broker'], noRedis);
    await run.says(/Redis is away/);
    await endsBy(run, 'SIGHUP');
  });

  it.runIf(full)('a broker that waits for another process at its folder', async (test) => {
    const { expect } = test;
    const { dataDir, start } = await openSite(test);
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

  it.runIf(full)('a worker without Redis, whose AWS answers nothing', async (test) => {
    const { start, stalledAws, asked, endsBy } = await openSite(test);
    const run = start(['worker'], { ...noRedis, ...stalledAws });
    await run.says(/Redis is away/);
    await asked();
    await endsBy(run, 'SIGTERM');
  });

  it('a gateway whose AWS answers nothing', async (test) => {
    const { start, stalledAws, endsBy } = await openSite(test);
    const run = start(['up'], { ...stalledAws, CVM_NEW_SITE: '1' });
    await run.says(/broker is listening/);
    await endsBy(run, 'SIGINT');
  });

  it('the stand-in', async (test) => {
    const { start, endsBy } = await openSite(test);
    const run = start(['aws-local']);
    await run.says(/the AWS stand-in is listening/);
    await endsBy(run, 'SIGHUP');
  });

  it.for(
    sampled([
      ['sweep', ['sweep']],
      ['import', ['devices', 'import', 'devices.csv']],
      ['setup', ['aws', 'setup']],
    ] as const),
  )('a command that waits for AWS: %s', async ([, argv], test) => {
    const { expect } = test;
    const { dataDir, start, stalledAws, asked } = await openSite(test);
    const file = join(dataDir, 'devices.csv');
    writeFileSync(file, 'serial\nSN-1\n');
    const run = start(
      argv.map((word) => (word === 'devices.csv' ? file : word)),
      stalledAws,
    );
    await asked();
    run.child.kill('SIGTERM');
    const { status, signal } = await run.ended;
    expect(signal ?? status).toBe('SIGTERM');
    expect(run.text()).not.toMatch(/^ +at /m);
  });
});

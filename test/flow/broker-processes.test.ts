import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { verifyAudit } from '../../runtime/audit-verify.ts';
import { askOnce } from '../support/device.ts';
import { lacks } from '../support/lacks.ts';
import { enrolDevices, isolated, processesIn, programRuns, type Run, recordsIn } from '../support/program.ts';

const long = { timeout: 45_000 };

describe.skipIf(lacks('redis-server'))('broker processes that share a port', () => {
  let dataDir: string;
  const runs = programRuns();
  beforeEach(() => {
    dataDir = mkdtempSync(join(tmpdir(), 'cvm-processes-'));
  });
  afterEach(async () => {
    await runs.end();
    rmSync(dataDir, { recursive: true, force: true });
  });
  const start = (argv: readonly string[], env: Record<string, string> = {}) =>
    runs.start(argv, { ...isolated(dataDir), ...env });
  type Line = { msg?: string; process?: number; port?: number; serial?: string };
  const linesOf = (run: Run) => recordsIn<Line>(run.text());
  async function brokerOf(run: Run) {
    await run.says(/all broker processes are listening.*\n/);
    const { port = 0 } = linesOf(run).find(({ msg }) => msg === 'all broker processes are listening') ?? {};
    return { port, caPem: readFileSync(join(dataDir, 'tls', 'site-ca.crt'), 'utf8') };
  }
  /** the processes that a process has started */
  const childrenOf = ({ child }: Run): number[] =>
    readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
  const isBroker = (pid: number) => readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('--process\0');
  const lives = (pid: number) => {
    try {
      return process.kill(pid, 0);
    } catch {
      return false;
    }
  };

  it('get as many connections each, serve devices as one broker does, are replaced when one dies, and end together', async () => {
    const run = start(['up', '--local-aws', '--processes', '2']);
    const broker = await brokerOf(run);
    for (let device = 0; device < 10; device++)
      expect(await askOnce(broker, `stranger-${device}`, {})).toMatchObject({ status: 'rejected' });
    const refusedBy = (number: number) =>
      linesOf(run).filter(({ msg, process: by }) => msg === 'refused' && by === number).length;
    await expect.poll(() => [refusedBy(1), refusedBy(2)], long).toEqual([5, 5]);

    const token = (await enrolDevices(['SN-1'], isolated(dataDir)))('SN-1');
    expect(await askOnce(broker, 'SN-1', { token, key: 'ec' })).toMatchObject({ status: 'accepted' });

    const pids = childrenOf(run).filter(isBroker);
    expect(pids).toHaveLength(2);
    process.kill(pids[0] ?? 0, 'SIGKILL');
    await run.says(/a broker process ended; its devices connect again. Starting it/);
    await expect.poll(() => childrenOf(run).filter(isBroker).filter(lives).length, long).toBe(2);
    const listening = () => linesOf(run).filter(({ msg, process: by }) => msg === 'broker is listening' && by === 1);
    await expect.poll(() => listening().length, long).toBe(2);
    expect(await askOnce(broker, 'SN-1', { token, key: 'ec' })).toMatchObject({ status: 'accepted' });

    const all = childrenOf(run);
    run.child.kill('SIGTERM');
    expect(await run.ended).toMatchObject({ status: 0 });
    expect(all.filter(lives)).toEqual([]);
    expect(linesOf(run).filter(({ msg }) => msg === 'closing')).toHaveLength(3);
    expect((await verifyAudit(join(dataDir, 'audit'))).faults).toEqual([]);
  });

  it('are a trouble of the part while one of them is frozen, and not only when it was killed', async () => {
    const run = start(['up', '--local-aws', '--processes', '2']);
    await brokerOf(run);
    const trouble = () => {
      try {
        return readFileSync(join(dataDir, 'broker.trouble'), 'utf8');
      } catch {
        return undefined;
      }
    };
    const [frozen = 0] = childrenOf(run).filter(isBroker);
    process.kill(frozen, 'SIGSTOP');
    await expect.poll(trouble).toMatch(/broker process 1 is frozen or blocked/);
    process.kill(frozen, 'SIGCONT');
    await expect.poll(trouble).toBeUndefined();
  });

  it('say once what is wrong with the start, and end', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const { port } = other.address() as { port: number };
    const run = start(['up', '--local-aws', '--processes', '3'], { CVM_MQTT_PORT: String(port) });
    expect(await run.ended).toMatchObject({ status: 1 });
    expect(run.text().match(/cannot listen on 127.0.0.1, port \d+ \(EADDRINUSE\)/g)).toHaveLength(1);
    expect(run.text()).toContain('broker process 1 could not start');
    other.close();
  });

  it('end when the process that started them is killed', async () => {
    const run = start(['up', '--local-aws', '--processes', '2']);
    await brokerOf(run);
    const [pids, others] = [childrenOf(run).filter(isBroker), childrenOf(run).filter((pid) => !isBroker(pid))];
    run.child.kill('SIGKILL');
    await run.ended.catch(() => {});
    await expect.poll(() => pids.filter(lives), long).toEqual([]);
    // Redis goes on, for the next start
    for (const pid of others.filter(lives)) process.kill(pid);
    await expect.poll(() => processesIn(join(dataDir, 'redis')), long).toEqual([]);
  });
});

import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ListCertificatesCommand } from '@aws-sdk/client-iot';
import { afterEach, describe, expect, it } from 'vitest';
import { type Behaviour, usualBehaviour } from '../../gateway-sim/behaviour.ts';
import type { Outcome } from '../../gateway-sim/outcome.ts';
import { simulate } from '../../gateway-sim/simulate.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { sized } from '../support/size.ts';
import { spawnWorker } from '../support/worker-process.ts';

const isTold = ({ seen }: Outcome) => seen?.told !== undefined;
const patience = { timeout: 45_000, interval: 50 };

describe.skipIf(lacks('redis-server'))('a line of devices that are told `pending`', { timeout: 180_000 }, () => {
  let gateway: Gateway | undefined;
  let folder: string | undefined;
  const children: ChildProcess[] = [];
  afterEach(async () => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
    await gateway?.close();
    if (folder !== undefined) rmSync(folder, { recursive: true, force: true });
    [gateway, folder] = [undefined, undefined];
  });

  const slowDown = ({ aws }: Gateway, ms: number) =>
    aws.faults.set([{ operation: 'CreateCertificateFromCsr', kind: 'latency', ms, times: 100_000 }]);

  /** They ask one after the other. @returns how each ended, and in which order they were answered */
  async function play(at: Gateway, count: number, behaviour: Partial<Behaviour>, served: string[] = []) {
    const names = Array.from({ length: count }, (_, index) => `line-${index}`);
    const devices: Awaited<ReturnType<Gateway['enrol']>>[] = [];
    for (const serial of names) devices.push(await at.enrol(serial));
    const { outcomes } = await simulate({
      gateway: { host: 'localhost', port: at.broker.port, caPem: readFileSync(at.broker.caFile, 'utf8') },
      devices: devices.map((device, index) => ({
        ...device,
        behaviour: { ...usualBehaviour, ...behaviour },
        startMs: index * 15,
      })),
      ...{ concurrency: count, timeoutMs: 170_000, maxPauseMs: 2000, seed: 5 },
      store: ({ serial }) => served.push(serial),
    });
    return outcomes;
  }

  function startWorker(at: Gateway, dataDir: string): ChildProcess {
    const child = spawnWorker(at, dataDir, { CVM_WORKER_CONCURRENCY: '4' });
    children.push(child);
    return child;
  }

  it('serves all of them when they leave, and come back after `retryAfter`', async () => {
    gateway = await startGateway({ env: { CVM_WORKER_CONCURRENCY: '2' } });
    slowDown(gateway, 500);
    const outcomes = await play(gateway, 24, { whenPending: 'leave' });
    expect(outcomes.filter(({ kind }) => kind !== 'accepted')).toEqual([]);
    expect(outcomes.filter((outcome) => outcome.attempts > 1).length).toBeGreaterThan(8);
  });

  it('is served in its order when its worker is killed in the middle, and Redis as well', async () => {
    gateway = await startGateway();
    const at = gateway;
    await at.worker.close();
    folder = mkdtempSync(join(tmpdir(), 'cvm-line-killed-'));
    slowDown(at, 150);
    const [count, served]: [number, string[]] = [sized(100, 60), []];
    const playing = play(at, count, {}, served);
    const worker = startWorker(at, folder);
    await expect.poll(() => served.length, patience).toBeGreaterThan(20);
    worker.kill('SIGKILL');
    process.kill(at.redis.pid, 'SIGKILL');
    startWorker(at, folder);
    const outcomes = await playing;
    expect(outcomes.filter(({ kind }) => kind !== 'accepted')).toEqual([]);
    expect(outcomes.filter(isTold).length).toBeGreaterThan(count / 2);
    const { certificates = [] } = await at.iot.send(new ListCertificatesCommand({ pageSize: 250 }));
    expect(certificates).toHaveLength(count);
    // the four that the killed worker had are answered when their locks have ended
    const late = served.filter((serial, rank) => rank - Number(serial.slice('line-'.length)) > 15);
    expect(late.length).toBeLessThanOrEqual(4);
  });
});

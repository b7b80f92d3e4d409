import type { ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ListCertificatesCommand, ListThingPrincipalsCommand } from '@aws-sdk/client-iot';
import { describe, expect, it } from 'vitest';
import { askOnce, connectDevice } from '../support/device.ts';
import { startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { spawnWorker } from '../support/worker-process.ts';

/** A gateway without a worker, and real worker processes on it. */
async function openSite() {
  const gateway = await startGateway();
  await gateway.worker.close();
  const folder = mkdtempSync(join(tmpdir(), 'cvm-killed-'));
  const children: ChildProcess[] = [];

  function startWorker(): ChildProcess {
    const child = spawnWorker(gateway, folder);
    children.push(child);
    return child;
  }

  async function calls(operation: string): Promise<number> {
    const stats = (await (await fetch(`${gateway.aws.httpUrl}/_local/stats`)).json()) as Record<
      string,
      { calls: number }
    >;
    return stats[operation]?.calls ?? 0;
  }

  return {
    gateway,
    /** Kills a real worker process while it waits for the answer of this call. */
    async killDuring(operation: string): Promise<void> {
      const before = await calls(operation);
      gateway.aws.faults.set([{ operation, kind: 'stall', ms: 2000, times: 1 }]);
      const worker = startWorker();
      await expect.poll(() => calls(operation), { timeout: 60_000, interval: 20 }).toBeGreaterThan(before);
      worker.kill('SIGKILL');
    },
    async close(): Promise<void> {
      for (const child of children) child.kill('SIGKILL');
      await gateway.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

// at once, since each waits seconds until BullMQ notices a stalled job
describe.skipIf(lacks('redis-server')).concurrent('a worker that is killed', () => {
  it.for(['CreateThing', 'AttachPolicy', 'UpdateCertificate'])(
    'during %s leaves its work to the next worker: the device gets one certificate',
    { timeout: 90_000 },
    async (operation, { onTestFinished }) => {
      const { gateway, killDuring, close } = await openSite();
      onTestFinished(close);
      const { serial, token } = await gateway.enrol(`killed-${operation}`);
      const device = await connectDevice(gateway.broker);
      await device.client.publishAsync(`cvm/request/${serial}`, JSON.stringify({ token, key: 'ec' }), { qos: 1 });
      await killDuring(operation);
      gateway.startOneWorker();
      const reply = await device.next();
      expect(reply).toMatchObject({ status: 'accepted', thingName: serial });
      const { principals } = await gateway.iot.send(new ListThingPrincipalsCommand({ thingName: serial }));
      expect(principals).toEqual([expect.stringContaining(reply.certificateId ?? '-')]);
      const { certificates = [] } = await gateway.iot.send(new ListCertificatesCommand({ pageSize: 250 }));
      expect(certificates.filter(({ status }) => status === 'ACTIVE')).toHaveLength(1);
      expect((await askOnce(gateway.broker, serial, { token })).certificateId).toBe(reply.certificateId);
      await device.client.endAsync(true);
    },
  );

  it('again and again does not lose the request', { timeout: 120_000 }, async ({ onTestFinished }) => {
    const { gateway, killDuring, close } = await openSite();
    onTestFinished(close);
    const { serial, token } = await gateway.enrol('killed-often');
    const device = await connectDevice(gateway.broker);
    await device.client.publishAsync(`cvm/request/${serial}`, JSON.stringify({ token, key: 'ec' }), { qos: 1 });
    // one kill more than BullMQ's default tolerates
    for (const operation of ['CreateThing', 'AttachPolicy']) await killDuring(operation);
    gateway.startOneWorker();
    expect(await device.next()).toMatchObject({ status: 'accepted', thingName: serial });
    await device.client.endAsync(true);
  });
});

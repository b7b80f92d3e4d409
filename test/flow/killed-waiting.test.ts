import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ListCertificatesCommand } from '@aws-sdk/client-iot';
import { describe, expect, it } from 'vitest';
import { ownerTagOf } from '../../worker/ec-key.ts';
import { sweep } from '../../worker/sweep.ts';
import { makeClaim } from '../support/claims.ts';
import { connectFleetDevice, create, fleetTemplate, provision, templateFolder } from '../support/fleet-device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { spawnWorker } from '../support/worker-process.ts';

const hourMs = 3_600_000;

/** As the worker does it, and at a later hour. */
const sweepAt = ({ asWorker: { registry, claims, issuer } }: Gateway, now: number) =>
  sweep({
    registry,
    claims,
    issuer,
    ownerTag: ownerTagOf('cvm-devices'),
    table: 'cvm-devices',
    graceMs: 900_000,
    replayWindowMs: 24 * hourMs,
    dryRun: false,
    now: () => now,
    report() {},
  });

const certificatesOf = async ({ iot }: Gateway) =>
  (await iot.send(new ListCertificatesCommand({ pageSize: 250 }))).certificates ?? [];

// at once, since each waits seconds until BullMQ notices a stalled job
describe.skipIf(lacks('redis-server')).concurrent('a worker that is killed at work for a claim certificate', () => {
  it.for([
    ['create', 'CreateKeysAndCertificate'],
    ['provision', 'AttachPolicy'],
    ['provision', 'UpdateCertificate'],
  ] as const)(
    'at %s, during %s, leaves its work to the next one, and nothing that is active or waits longer than its ownership token',
    { timeout: 120_000 },
    async ([step, operation], { onTestFinished }) => {
      const templates = templateFolder({ pump: fleetTemplate() });
      const folder = mkdtempSync(join(tmpdir(), 'cvm-killed-'));
      const env = { CVM_TEMPLATES_DIR: templates.folder, CVM_CLAIMS: '1' };
      const gateway = await startGateway({ env });
      onTestFinished(async () => {
        await gateway.close();
        templates.remove();
        rmSync(folder, { recursive: true, force: true });
      });
      const [serial, claim] = ['P-killed', await makeClaim(gateway)];
      await gateway.enrol(serial, { claimGroup: 'pumps' });
      const { cert, key } = claim;
      const device = await connectFleetDevice(gateway.broker, { cert, key });

      /** Publishes, kills a real worker process in the call, and lets another one take over. */
      async function askWithKill(topic: string, fields: object | Buffer) {
        const calls = async () => {
          const stats = (await (await fetch(`${gateway.aws.httpUrl}/_local/stats`)).json()) as Record<
            string,
            { calls: number } | undefined
          >;
          return stats[operation]?.calls ?? 0;
        };
        const before = await calls();
        gateway.aws.faults.set([{ operation, kind: 'stall', ms: 2000, times: 1 }]);
        const worker = spawnWorker(gateway, folder, env);
        onTestFinished(() => void worker.kill('SIGKILL'));
        await device.publish(topic, fields);
        await expect.poll(calls, { timeout: 60_000, interval: 20 }).toBeGreaterThan(before);
        worker.kill('SIGKILL');
        gateway.startOneWorker();
        const { body } = await device.next();
        // a device whose wait is unknown is told so, and asks again
        return body.statusCode === 429 ? (await device.ask(topic, fields)).body : body;
      }

      if (step === 'create') await gateway.worker.close();
      const made =
        step === 'create'
          ? await askWithKill(create('json'), Buffer.alloc(0))
          : (await device.ask(create('json'))).body;
      if (step === 'provision') await gateway.worker.close();
      const { certificateOwnershipToken, certificateId } = made;
      const asked = { certificateOwnershipToken, parameters: { SerialNumber: serial } };
      const topic = provision('pump', 'json');
      const said = step === 'provision' ? await askWithKill(topic, asked) : (await device.ask(topic, asked)).body;
      expect(said).toEqual({ deviceConfiguration: {}, thingName: serial });
      // and one that nobody provisions
      await device.ask(create('json'));
      await device.leave();

      for (const hours of [2, 4]) await sweepAt(gateway, Date.now() + hours * hourMs);
      const left = await certificatesOf(gateway);
      expect(left.map((each) => [each.certificateId, each.status])).toEqual([[certificateId, 'ACTIVE']]);
      expect(await gateway.registry.find(serial)).toMatchObject({ state: 'registered', certificateId });
      const none = { intended: [], waiting: [], given: [], over: [] };
      expect(await gateway.asOperator.claims.waiting(claim.id)).toEqual(none);
    },
  );
});

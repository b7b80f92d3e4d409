import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  CreateCertificateFromCsrCommand,
  CreateKeysAndCertificateCommand,
  CreateThingCommand,
  DescribeThingCommand,
  ListCertificatesCommand,
} from '@aws-sdk/client-iot';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { sweepCommand } from '../../cli/sweep.ts';
import { remove } from '../../operator/decisions.ts';
import { createLog } from '../../runtime/log.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { makeEcKey, ownerTagOf } from '../../worker/ec-key.ts';
import { sweep } from '../../worker/sweep.ts';
import { startSweeper } from '../../worker/sweeper.ts';
import { askOnce } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

const table = 'cvm-devices';

describe.skipIf(lacks('redis-server'))('cvm sweep', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway();
    // half a minute after its start, a worker sweeps by itself
    await gateway.worker.close();
  });
  afterAll(async () => {
    process.exitCode = undefined;
    await gateway?.close();
  });

  /** Asks while a worker of its own runs. */
  const ask = async (serial: string, request: { token: string; key?: 'rsa' | 'ec' }) => {
    const worker = gateway.startOneWorker();
    return askOnce(gateway.broker, serial, request).finally(() => worker.close());
  };

  /** An hour later, by the sweeper's clock. */
  const later = () => Date.now() + 3_600_000;
  async function run(...argv: string[]): Promise<string[]> {
    const lines: string[] = [];
    const command = sweepCommand({
      settings: async () => loadSettings({}),
      audit: async () => gateway.audit,
      table: async () => gateway.asOperator,
      issuer: async () => gateway.issuer,
      write: (line) => lines.push(line),
      clock: async () => later,
    });
    await command.parseAsync(argv, { from: 'user' });
    return lines;
  }
  const recorded = () =>
    readdirSync(gateway.auditDir).flatMap((name) =>
      readFileSync(join(gateway.auditDir, name), 'utf8')
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as { event: string })
        .filter(({ event }) => event.startsWith('swept')),
    );
  const certificates = async () =>
    ((await gateway.iot.send(new ListCertificatesCommand({ pageSize: 250 }))).certificates ?? []).map(
      ({ certificateId = '' }) => certificateId,
    );
  const leaveOne = async (serial: string) => {
    const { csrPem: certificateSigningRequest } = await makeEcKey(serial, ownerTagOf(table));
    const { certificateId = '' } = await gateway.iot.send(
      new CreateCertificateFromCsrCommand({ certificateSigningRequest }),
    );
    return certificateId;
  };

  it('deletes what a crash left, records it, reports foreign certificates, and does not touch the devices', async () => {
    const { serial, token } = await gateway.enrol('sweep-1');
    const { certificateId } = await ask(serial, { token, key: 'ec' });
    const ours = await leaveOne('sweep-2');
    const { certificateId: theirs } = await gateway.iot.send(
      new CreateKeysAndCertificateCommand({ setAsActive: true }),
    );

    const planned = await run('--dry-run');
    expect(planned.join('\n')).toMatch(new RegExp(`certificate-unnamed +sweep-2 +${ours} +would be withdrawn`));
    expect(await certificates()).toHaveLength(3);
    expect(recorded()).toEqual([]);

    const [json = ''] = await run('--json');
    expect(JSON.parse(json)).toMatchObject({
      dryRun: false,
      devices: 1,
      certificates: 3,
      findings: { 'certificate-unnamed': 1, 'certificate-unknown': 1 },
      found: expect.arrayContaining([
        { kind: 'certificate-unnamed', serial: 'sweep-2', certificateId: ours, action: 'withdrawn' },
        { kind: 'certificate-unknown', certificateId: theirs, action: 'reported' },
      ]),
    });
    // records what it did, not what it only reports
    expect(recorded()).toEqual([
      expect.objectContaining({
        event: 'swept-up',
        certificateId: ours,
        kind: 'certificate-unnamed',
        action: 'withdrawn',
      }),
      expect.objectContaining({ event: 'swept', devices: 1, certificates: 3 }),
    ]);
    expect((await certificates()).sort()).toEqual([certificateId, theirs].sort());
    expect((await ask(serial, { token })).certificateId).toBe(certificateId);
  });

  it('deletes the RSA certificate of a create call whose answer was lost', async () => {
    const { serial, token } = await gateway.enrol('sweep-rsa');
    gateway.aws.faults.set([{ operation: 'CreateKeysAndCertificate', kind: 'act-and-lose-answer', times: 1 }]);
    const { certificateId } = await ask(serial, { token, key: 'rsa' });
    const [json = ''] = await run('--json');
    expect(JSON.parse(json)).toMatchObject({ findings: { 'answer-lost': 1 } });
    expect(await certificates()).toContain(certificateId);
    expect(await gateway.registry.find(serial)).not.toHaveProperty('creates');
  });

  it('ends with status 1 while another sweep is under way', async () => {
    const { lease } = gateway.asOperator;
    await lease.take('another sweep', later(), 120_000);
    process.exitCode = undefined;
    expect(await run()).toEqual([]);
    expect(process.exitCode).toBe(1);
    process.exitCode = undefined;
    await lease.release('another sweep');
  });

  it('is run by one worker at a time without an operator', async () => {
    const before = recorded().length;
    let [sweeping, sweeps, together] = [0, 0, 0];
    const once = async () => {
      sweeps++;
      together = Math.max(together, ++sweeping);
      await new Promise((resolve) => setTimeout(resolve, 100));
      sweeping--;
      return { complete: true, dryRun: false, devices: 0, certificates: 0, findings: {}, ms: 0 };
    };
    const sweepers = [1, 2, 3].map(() =>
      startSweeper({
        lease: gateway.asOperator.lease,
        once,
        intervalMs: 200,
        log: createLog('silent'),
        audit: gateway.audit,
        // later than the sweeps of the other tests
        now: () => later() + 3_600_000,
        random: () => 0.5,
      }),
    );
    await expect.poll(() => sweeps).toBeGreaterThan(2);
    await Promise.all(sweepers.map((sweeper) => sweeper.close()));
    expect(together).toBe(1);
    expect(recorded().length - before).toBe(sweeps);
  });

  it('removes the thing that was made again after its device was removed, and forgets the device a day later', async () => {
    const { serial } = await gateway.enrol('sweep-made-again');
    await remove(serial, 'with-thing', gateway.operator);
    await gateway.iot.send(new CreateThingCommand({ thingName: serial }));
    expect((await run()).join('\n')).toMatch(/thing-unnamed +sweep-made-again +- +removed/);
    await expect(gateway.iot.send(new DescribeThingCommand({ thingName: serial }))).rejects.toThrow('not found');

    const isLeft = async () => {
      for await (const row of gateway.asOperator.registry.listAll()) if (row.serial === serial) return true;
      return false;
    };
    expect(await isLeft()).toBe(true);
    // the worker's sweep, which has the rights of the worker
    const { registry, issuer } = gateway.asWorker;
    const now = () => Date.now() + 2 * 86_400_000;
    const spans = { graceMs: 900_000, replayWindowMs: 86_400_000 };
    await sweep({
      registry,
      issuer,
      ownerTag: ownerTagOf(table),
      table,
      ...spans,
      dryRun: false,
      now,
      report: () => {},
    });
    expect(await isLeft()).toBe(false);
  });
});

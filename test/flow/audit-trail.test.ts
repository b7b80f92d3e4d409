import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { devicesCommand } from '../../cli/devices.ts';
import type { Issuer } from '../../issuer/issuer.ts';
import { ackTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { verifyAudit } from '../../runtime/audit-verify.ts';
import { askOnce, connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { noTakeover } from '../support/operator.ts';

describe.skipIf(lacks('redis-server'))('the life of a device', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway({ tokenAttempts: { pauseSeconds: 0 } });
  });
  afterAll(() => gateway?.close());

  const records = () =>
    readdirSync(gateway.auditDir).flatMap((name) =>
      readFileSync(join(gateway.auditDir, name), 'utf8')
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as { time: string; event: string; serial: string; errorCode?: string }),
    );

  async function cvm(...args: string[]): Promise<string> {
    return cvmWith(gateway.issuer, ...args);
  }

  async function cvmWith(issuer: Issuer, ...args: string[]): Promise<string> {
    const said: string[] = [];
    const operator = { ...gateway.operator, issuer, gateways: async () => [], announce: async () => {} };
    const command = devicesCommand({
      takeover: noTakeover,
      operator: async () => operator,
      write: (line) => said.push(line),
    });
    await new Command('cvm').addCommand(command).parseAsync(['devices', ...args], { from: 'user' });
    return said.join('\n');
  }

  it('is on the audit trail step by step, without any token', async () => {
    const serial = 'audited';
    const { token } = JSON.parse(await cvm('add', serial, '--json')) as { token: string };
    expect(await askOnce(gateway.broker, serial, { token: 'wrong-token-0123456789abcdef' })).toMatchObject({
      status: 'rejected',
    });
    expect(await askOnce(gateway.broker, serial, {})).toMatchObject({ status: 'rejected' });
    const device = await connectDevice(gateway.broker);
    await device.client.publishAsync(requestTopic(serial), JSON.stringify({ token, key: 'ec' }), { qos: 1 });
    const { certificateId } = await device.next();
    await device.client.publishAsync(ackTopic(serial), JSON.stringify({ certificateId }), { qos: 1 });
    await device.client.endAsync(true);
    await expect.poll(() => records().map(({ event }) => event)).toContain('delivered');
    await cvm('block', serial);
    await cvm('unblock', serial);
    const again = JSON.parse(await cvm('reissue', serial, '--json')) as { token: string };
    await cvm('remove', serial);
    const ofDevices = records().filter(({ event }) => event !== 'gateway-approved');
    expect(ofDevices.map(({ event, errorCode }) => errorCode ?? event)).toEqual([
      ...['enrolled', 'InvalidToken', 'InvalidToken', 'vended', 'delivered'],
      ...['blocked', 'unblocked', 'reissued', 'removed'],
    ]);
    expect(new Set(ofDevices.map(({ serial: named }) => named))).toEqual(new Set([serial]));
    expect(JSON.stringify(records())).not.toMatch(new RegExp(`${token}|${again.token}|PRIVATE`));
    expect(await verifyAudit(gateway.auditDir)).toMatchObject({ records: 10, faults: [] });
  });

  it('is recorded when it is decided, also when AWS fails right after that', async () => {
    const fails = async () => {
      throw new Error('no connection');
    };
    const broken = { ...gateway.issuer, deactivate: fails, activate: fails, withdraw: fails };
    const { serial, token } = await gateway.enrol('half-done');
    await askOnce(gateway.broker, serial, { token, key: 'ec' });
    const recorded = () => records().flatMap((record) => (record.serial === serial ? [record.event] : []));
    // a worker records its decision when it has handed over the reply
    await expect.poll(recorded).toEqual(['vended']);
    for (const what of ['block', 'unblock', 'reissue', 'remove']) {
      // a reissue would delete this certificate
      if (what === 'reissue') await gateway.registry.markForDeletion(serial, 'f'.repeat(64));
      const complaints = vi.spyOn(console, 'error').mockImplementation(() => {});
      await cvmWith(broken, what, serial);
      expect(complaints.mock.calls.join()).toContain('no connection');
      expect(process.exitCode).toBe(1);
      complaints.mockRestore();
      process.exitCode = undefined;
    }
    expect(recorded()).toEqual(['vended', 'blocked', 'unblocked', 'reissued', 'removed']);
  });

  it('stays valid when a client names something that is not a serial', async () => {
    const device = await connectDevice(gateway.broker);
    for (const serial of ['a\u2028b', 'after'])
      await device.client.publishAsync(requestTopic(serial), 'no JSON', { qos: 1 });
    expect(await device.next()).toMatchObject({ errorCode: 'InvalidRequest' });
    await device.client.endAsync(true);
    const last = records()
      .filter(({ event }) => event === 'refused')
      .at(-1);
    expect(last).toHaveProperty('errorCode', 'InvalidRequest');
    expect(JSON.stringify(records())).not.toContain('a\u2028b');
    expect((await verifyAudit(gateway.auditDir)).faults).toEqual([]);
  });

  it('counts the refusals of a flood instead of recording each', async () => {
    const before = records().length;
    // each connection may send some packets at once
    const devices = await Promise.all(Array.from({ length: 10 }, () => connectDevice(gateway.broker)));
    const flood = devices.map(async ({ client }) => {
      for (let index = 0; index < 20; index++)
        await client.publishAsync(requestTopic('flooded'), 'no JSON', { qos: 1 });
      await client.endAsync(true);
    });
    await Promise.all(flood);
    const recorded = records().slice(before);
    expect(recorded.length).toBeLessThan(200);
    // ten in each of the limiter's seconds, of which two lie in one of the clock, however long the flood took
    const bySecond = new Map<string, number>();
    for (const { time } of recorded) bySecond.set(time.slice(0, 19), (bySecond.get(time.slice(0, 19)) ?? 0) + 1);
    expect(Math.max(...bySecond.values())).toBeLessThanOrEqual(20);
  });
});

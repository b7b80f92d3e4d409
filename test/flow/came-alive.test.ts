import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { createApp } from '../../app/app.ts';
import { connectConnectivity, connectTable } from '../../app/aws.ts';
import { devicesCommand } from '../../cli/devices.ts';
import { noAudit } from '../../runtime/audit.ts';
import { createLog } from '../../runtime/log.ts';
import { connectOnce } from '../../runtime/mqtt-connect.ts';
import { createCameAliveReview } from '../../worker/came-alive.ts';
import { askOnce } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { noTakeover } from '../support/operator.ts';

describe.skipIf(lacks('redis-server'))('a device that got its certificate', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway();
  });
  afterAll(() => gateway?.close());

  async function vend(serial: string) {
    const { token } = await gateway.enrol(serial);
    const reply = await askOnce(gateway.broker, serial, { token, key: 'ec' });
    expect(reply).toMatchObject({ status: 'accepted' });
    return { cert: reply.certificatePem ?? '', key: reply.privateKey ?? '' };
  }

  async function list(...argv: string[]): Promise<string[]> {
    const lines: string[] = [];
    const operator = async () => gateway.operator;
    const command = devicesCommand({ takeover: noTakeover, operator, write: (line) => lines.push(line) });
    await command.parseAsync(argv, { from: 'user' });
    return lines;
  }

  it('counts as alive once it has connected to the data plane; another one that never did is listed as silent', async () => {
    const remarks = vi.spyOn(console, 'error').mockImplementation(() => {});
    const device = await vend('alive-1');
    await vend('silent-1');
    const place = { host: 'localhost', port: gateway.aws.mqttPort, rejectUnauthorized: false, connectTimeout: 30_000 };
    await (await connectOnce({ ...place, ...device, clientId: 'alive-1' })).endAsync();

    const app = createApp(gateway.settings, createLog('silent'));
    const table = connectTable(app, 'gateway');
    const connectivity = connectConnectivity(app, (gate) => gate);
    const { metrics, log, awsTime } = app;
    const deps = { registry: table.registry, connectivity, audit: noAudit, log, metrics, now: awsTime.now };
    const review = createCameAliveReview(deps);
    for await (const row of table.registry.listAll()) review.look(row);
    await table.silent.write(await review.finish(() => false));

    expect(await list('list', '--silent')).toEqual([expect.stringMatching(/^silent-1 +\d{4}-\d\d-\d\dT/)]);
    expect((await list('show', 'alive-1', '--json')).join()).toMatch(/"seenAt":"\d{4}/);
    expect((await list('show', 'silent-1', '--json')).join()).toMatch(/"silentSince":"\d{4}/);
    expect(await app.metricsRegistry.metrics()).toMatch(/^cvm_worker_devices_came_alive_total 1$/m);

    remarks.mockRestore();
    await app.lifecycle.close();
  });
});

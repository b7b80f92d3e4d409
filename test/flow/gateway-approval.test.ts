import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { gatewayIdIn } from '../../site-tls/gateway-key.ts';
import { pinnedTableKey, tableKeyFile } from '../../site-tls/table-key.ts';
import { askOnce } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

describe.skipIf(lacks('redis-server'))('the approval of gateways', () => {
  const otherDir = mkdtempSync(join(tmpdir(), 'cvm-other-'));
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway();
  });
  afterAll(async () => {
    await gateway?.close();
    rmSync(otherDir, { recursive: true, force: true });
  });
  const own = () => gatewayIdIn(gateway.dataDir) ?? '';
  const ask = async (broker: Gateway['broker'], name: string) => {
    const { serial, token } = await gateway.enrol(name);
    return { serial, again: () => askOnce(broker, serial, { token, key: 'ec' }) };
  };
  const notApproved = { status: 'rejected', errorCode: 'UpstreamUnavailable', statusCode: 503, retryAfter: 60 };
  /** A worker keeps an approval for some seconds, a new one reads it from the table. */
  const startNewWorker = async () => {
    await gateway.worker.close();
    gateway.worker = gateway.startOneWorker();
  };

  it('is given by itself to the first of a table, which serves its first device at once, and it is said loudly', async () => {
    expect(await (await ask(gateway.broker, 'first-device')).again()).toMatchObject({ status: 'accepted' });
    expect(await gateway.gateways.known()).toMatchObject([{ id: own(), state: 'approved' }]);
    const warnings = gateway
      .logText()
      .split('\n')
      .filter((line) => line.includes('is the first of the table'));
    expect(warnings).toHaveLength(1);
    expect(JSON.parse(warnings[0] ?? '{}')).toMatchObject({ level: 40, gateway: own() });
    const trail = readdirSync(gateway.auditDir).map((name) => readFileSync(join(gateway.auditDir, name), 'utf8'));
    expect(trail.join('')).toContain(`"event":"gateway-approved","gateway":"${own()}","by":"itself"`);
  });

  it('is asked for by every other one: until then its devices are told to come back, and no row is touched', async () => {
    const other = await gateway.startOneBroker(otherDir);
    const id = gatewayIdIn(otherDir) ?? '';
    const { serial, again } = await ask(other, 'other-device');
    expect(await again()).toMatchObject(notApproved);
    expect(await gateway.registry.find(serial)).toMatchObject({ state: 'enrolled', attempt: 0, requestedAt: 0 });
    await expect.poll(() => gateway.logText()).toContain('cvm tls approve');
    const refused = () =>
      gateway
        .logText()
        .split('\n')
        .filter((line) => line.includes('"msg":"refused"') && line.includes(serial));
    await expect
      .poll(() => refused().map((line) => JSON.parse(line)))
      .toMatchObject([
        { serial, gateway: id, errorCode: 'UpstreamUnavailable', reason: expect.stringContaining('not approved') },
      ]);
    await expect.poll(() => gateway.gateways.known()).toContainEqual(expect.objectContaining({ id, state: 'waiting' }));
    // no later than a second after the decision
    await gateway.gateways.approve(id);
    await expect.poll(again, { interval: 300 }).toMatchObject({ status: 'accepted' });
    expect(await (await ask(gateway.broker, 'own-device')).again()).toMatchObject({ status: 'accepted' });
  });

  it('that went to a stranger first is cured: forget the stranger, approve the own one', async () => {
    await gateway.gateways.forget(own());
    await startNewWorker();
    const { again } = await ask(gateway.broker, 'cured-device');
    expect(await again()).toMatchObject(notApproved);
    await expect.poll(async () => (await gateway.gateways.known()).map(({ id }) => id)).toContain(own());
    expect(await gateway.gateways.approve(own())).toBe('approved');
    await expect.poll(again, { interval: 300 }).toMatchObject({ status: 'accepted' });
  });

  it('goes both ways: a gateway pins the key of the first table that it meets, for all later starts', async () => {
    const { publicKey } = await gateway.tableKey();
    for (const dataDir of [gateway.dataDir, otherDir]) {
      expect(pinnedTableKey(dataDir)).toBe(publicKey);
      expect(statSync(tableKeyFile(dataDir)).mode & 0o777).toBe(0o600);
    }
  });
});

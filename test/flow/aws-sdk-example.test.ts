import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { copyExample } from '../support/example-packages.ts';
import { startExample } from '../support/example-suite.ts';
import { fleetTemplate, templateFolder } from '../support/fleet-device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

const example = copyExample('node-aws-sdk');
const script = join(example?.folder ?? '', 'provision.js');
afterAll(() => example?.remove());

describe.skipIf(lacks('redis-server') || example === undefined)('examples/node-aws-sdk', { timeout: 120_000 }, () => {
  let gateway: Gateway;
  let folder: string;
  const templates = templateFolder({
    pump: fleetTemplate({}, { DeviceConfiguration: { url: 'https://example.aws' } }),
  });
  beforeAll(async () => {
    gateway = await startGateway({ env: { CVM_TEMPLATES_DIR: templates.folder } });
    folder = mkdtempSync(join(tmpdir(), 'cvm-example-'));
  });
  afterAll(async () => {
    await gateway?.close();
    templates.remove();
    rmSync(folder, { recursive: true, force: true });
  });

  const start = ({ serial, token }: { serial: string; token: string }, template = 'pump') => {
    const { broker, aws } = gateway;
    const at = (port: number) => `localhost:${port}`;
    const toGateway = [at(broker.port), broker.caFile, serial, template, join(folder, serial)];
    return startExample([process.execPath, script, ...toGateway, at(aws.mqttPort), aws.rootCaFile], token);
  };
  const storedOf = (serial: string) => JSON.parse(readFileSync(join(folder, serial, 'device.json'), 'utf8'));

  it('is registered by the client of AWS over MQTT 5, and AWS IoT Core takes what it got', async () => {
    const device = await gateway.enrolOnRoster('sdk-example');
    const { status, said } = await start(device).ended();
    expect([status, said]).toEqual([0, expect.stringContaining('AWS IoT Core sent back: {"certificateId"')]);
    const row = await gateway.registry.find(device.serial);
    expect(storedOf(device.serial)).toMatchObject({
      ...{ certificateId: row?.certificateId, thingName: device.serial },
      deviceConfiguration: { url: 'https://example.aws' },
    });
    expect(statSync(join(folder, device.serial, 'device.json')).mode & 0o777).toBe(0o600);
    expect(row?.deliveredAt).toBeTypeOf('number');
    expect(gateway.logText()).not.toContain(device.token);
    // once more asks the gateway for nothing
    const again = await start({ ...device, token: 'none-any-more-none-any-more' }).ended();
    expect(again.status, again.said).toBe(0);
  });

  it('ends with what the gateway says, where that refuses for good', async () => {
    const { serial, token } = await gateway.enrolOnRoster('sdk-refused');
    const wrong = await start({ serial, token: 'w'.repeat(30) }).ended();
    expect([wrong.status, wrong.said]).toEqual([1, expect.stringContaining('InvalidToken: ')]);
    const none = await start({ serial, token }, 'no-such-template').ended();
    expect([none.status, none.said]).toEqual([1, expect.stringContaining('no provisioning template of this name')]);
  });

  it('asks again when AWS has no room, after what the gateway says, and gets its certificate', async () => {
    const device = await gateway.enrolOnRoster('sdk-throttled');
    await gateway.worker.close();
    const program = start(device);
    await expect.poll(program.said).toMatch(/Throttled: .*; ask again in \d+ s\nasking again in \d+ s/);
    gateway.startOneWorker();
    await expect.poll(async () => (await gateway.registry.find(device.serial))?.state).toBe('registered');
    // it would wait for a minute or two
    await program.kill();
    expect(await start(device).ended()).toMatchObject({ status: 0 });
    expect(storedOf(device.serial).certificateId).toBe((await gateway.registry.find(device.serial))?.certificateId);
  });
});

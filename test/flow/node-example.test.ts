import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { copyExample } from '../support/example-packages.ts';
import { apartFromPlaces, exampleSuite, startExample } from '../support/example-suite.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { startProxy } from '../support/proxy.ts';

const patience = { timeout: 45_000 };
const example = copyExample('node');
const script = join(example?.folder ?? '', 'provision.js');
afterAll(() => example?.remove());

exampleSuite({
  name: 'node',
  command: [process.execPath, script],
  missing: example === undefined,
  saysPosition: true,
});

describe.skipIf(lacks('redis-server') || example === undefined)('examples/node', () => {
  let gateway: Gateway;
  let folder: string;
  beforeAll(async () => {
    gateway = await startGateway();
    folder = mkdtempSync(join(tmpdir(), 'cvm-example-'));
  });
  afterAll(async () => {
    await gateway?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  /** @param trust the file of a CA, or `psk` */
  const start = ({ serial, token }: { serial: string; token: string }, trust: string, port = gateway.broker.port) =>
    startExample([process.execPath, script, 'localhost', String(port), trust, serial, join(folder, serial)], token);
  const certificate = (serial: string) => new X509Certificate(readFileSync(join(folder, serial, 'device.crt')));
  const untilAsked = (serial: string) =>
    expect.poll(async () => (await gateway.registry.find(serial))?.state, patience).toBe('provisioning');
  /** It is the only one of the device, and it has acknowledged it. */
  async function expectServed(serial: string): Promise<void> {
    await expect.poll(async () => (await gateway.registry.find(serial))?.deliveredAt, patience).toBeTypeOf('number');
    const { certificateId } = (await gateway.registry.find(serial)) ?? {};
    expect(certificate(serial).fingerprint256.replaceAll(':', '').toLowerCase()).toBe(certificateId);
  }

  it('needs no CA with a pre-shared key', async () => {
    const device = await gateway.enrolOnRoster('example-psk');
    expect(await start(device, 'psk').ended()).toMatchObject({ status: 0 });
    await expectServed(device.serial);
  });

  it('ends with 2, and says why, where asking again mends nothing: no token, no file, no port', async () => {
    const device = { serial: 'example-wrong-use', token: 'x' };
    const port = gateway.broker.port;
    expect(await start({ ...device, token: '' }, 'psk').ended()).toMatchObject({ status: 2 });
    expect(await start(device, join(folder, 'none.crt')).ended()).toMatchObject({ status: 2 });
    expect(await start(device, 'psk', port + 65_536).ended()).toMatchObject({ status: 2 });
  });

  it('says what is wrong when its token does not make the key that the gateway has', async () => {
    const device = await gateway.enrolOnRoster('example-no-psk');
    const program = start({ ...device, token: `${device.token}-wrong` }, 'psk');
    await expect.poll(program.said, patience).toMatch(/does not know this serial with this token/);
    await program.kill();
  });

  it('believes no gateway but one of its site CA, and says what is wrong', async () => {
    const device = await gateway.enrolOnRoster('example-other-ca');
    const program = start(device, gateway.aws.rootCaFile);
    await expect.poll(program.said, patience).toMatch(/certificate.*\n.*asking again in \d+ s/);
    await program.kill();
    expect((await gateway.registry.find(device.serial))?.state).toBe('enrolled');
  });

  it('keeps its key over a power cut, and gets the certificate that it has asked for before', async () => {
    const device = await gateway.enrolOnRoster('example-power-cut');
    gateway.aws.faults.set([{ operation: 'CreateCertificateFromCsr', kind: 'latency', ms: 3000, times: 1 }]);
    const program = start(device, gateway.broker.caFile);
    await untilAsked(device.serial);
    await program.kill();
    writeFileSync(join(folder, device.serial, 'device.crt.new'), 'cut off');
    const { status, said } = await start(device, gateway.broker.caFile).ended();
    expect([status, apartFromPlaces(said)]).toEqual([0, '']);
    await expectServed(device.serial);
  });

  it('comes back by itself when its connection breaks before the answer', async () => {
    const device = await gateway.enrolOnRoster('example-cut-off');
    const proxy = await startProxy(gateway.broker.port);
    gateway.aws.faults.set([{ operation: 'CreateCertificateFromCsr', kind: 'latency', ms: 3000, times: 1 }]);
    const program = start(device, gateway.broker.caFile, proxy.port);
    await untilAsked(device.serial);
    proxy.cut();
    expect(await program.ended()).toMatchObject({ status: 0, said: expect.stringMatching(/asking again in \d+ s/) });
    await expectServed(device.serial);
    await proxy.close();
  });
});

import { spawn } from 'node:child_process';
import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeDeviceKey } from '../../gateway-sim/device-key.ts';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import { connectDevice, type TestDevice } from './device.ts';
import { type Gateway, startGateway } from './gateway.ts';
import { lacks } from './lacks.ts';

type Example = {
  readonly name: string;
  /** the program and its script, before HOST PORT SITE_CA SERIAL FOLDER */
  readonly command: readonly [program: string, script: string];
  /** a program that it needs is not on this machine */
  readonly missing: boolean;
  /** whether it says its place in the line */
  readonly saysPosition: boolean;
};

/** Starts a program with the token on its stdin. */
export function startExample(argv: readonly string[], token: string) {
  const [program = '', ...rest] = argv;
  const child = spawn(program, rest);
  let said = '';
  for (const each of [child.stdout, child.stderr]) each.on('data', (text) => (said += text));
  // one that ends at once reads nothing
  child.stdin.on('error', () => {}).end(`${token}\n`);
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  // a process may end before what it said has been read
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  return {
    said: () => said,
    ended: async () => ({ status: await ended, said }),
    async kill() {
      child.kill('SIGKILL');
      await gone;
    },
  };
}

/** What a program said, but for its places in the line, which it says where the machine is slow. */
export const apartFromPlaces = (said: string) => said.replace(/^.*position \d+ in the line.*\n/gm, '');

/**
 * Devices that ask before the one of a test, of which AWS takes half a minute.
 * @returns ends their wait
 */
export async function lineUp(gateway: Gateway, name: string): Promise<() => Promise<void>> {
  gateway.aws.faults.set([{ operation: 'CreateCertificateFromCsr', kind: 'latency', ms: 2500, times: 1000 }]);
  const others: TestDevice[] = [];
  for (let count = 0; count < 12; count++) {
    const other = await gateway.enrolOnRoster(`${name}-${count}`);
    const device = await connectDevice(gateway.broker);
    const request = { token: other.token, csr: (await makeDeviceKey(other.serial)).csrPem };
    await device.client.publishAsync(requestTopic(other.serial), JSON.stringify(request), { qos: 1 });
    others.push(device);
  }
  return async () => {
    gateway.aws.faults.set([]);
    for (const { client } of others) await client.endAsync(true);
  };
}

/** What every program of examples/ that speaks our own protocol does. */
export function exampleSuite({ name, command, missing, saysPosition }: Example): void {
  describe.skipIf(lacks('redis-server') || missing)(`examples/${name}`, () => {
    let gateway: Gateway;
    let folder: string;
    beforeAll(async () => {
      gateway = await startGateway({ env: { CVM_WORKER_CONCURRENCY: '1' } });
      folder = mkdtempSync(join(tmpdir(), 'cvm-example-'));
    });
    afterAll(async () => {
      await gateway?.close();
      rmSync(folder, { recursive: true, force: true });
    });

    const start = (serial: string, token: string) => {
      const { port, caFile } = gateway.broker;
      return startExample([...command, 'localhost', String(port), caFile, serial, join(folder, serial)], token);
    };
    const provision = (serial: string, token: string) => start(serial, token).ended();
    const fileOf = (serial: string, file: string) => readFileSync(join(folder, serial, file), 'utf8');

    it('gets a certificate for its own key, stores it, and acknowledges it; once more changes nothing', async () => {
      const { serial, token } = await gateway.enrolOnRoster(`example-${name}`);
      expect(await provision(serial, token)).toMatchObject({ status: 0 });
      const certificate = new X509Certificate(fileOf(serial, 'device.crt'));
      expect(certificate.checkPrivateKey(createPrivateKey(fileOf(serial, 'device.key')))).toBe(true);
      expect(certificate.publicKey.asymmetricKeyDetails).toEqual({ namedCurve: 'prime256v1' });
      expect(certificate.verify(createPublicKey(fileOf(serial, 'root-ca.pem')))).toBe(true);
      expect(statSync(join(folder, serial, 'device.key')).mode & 0o777).toBe(0o600);
      expect(fileOf(serial, 'endpoint')).toMatch(/\S/);
      await expect.poll(async () => (await gateway.registry.find(serial))?.deliveredAt).toBeGreaterThan(0);
      expect(gateway.logText()).not.toContain(token);
      expect(await provision(serial, token)).toMatchObject({ status: 0 });
      expect(new X509Certificate(fileOf(serial, 'device.crt')).fingerprint256).toBe(certificate.fingerprint256);
    });

    it('ends with what the gateway says, where that refuses for good', async () => {
      const { serial } = await gateway.enrolOnRoster(`refused-${name}`);
      const { status, said } = await provision(serial, 'w'.repeat(30));
      expect([status, said]).toEqual([1, expect.stringContaining('InvalidToken: the token does not fit this serial')]);
      expect(() => fileOf(serial, 'device.crt')).toThrow();
    });

    it('waits in the line behind others', async () => {
      const { serial, token } = await gateway.enrolOnRoster(`waits-${name}`);
      const endWait = await lineUp(gateway, `before-${name}`);
      const stored = () => gateway.broker.metric('cvm_broker_messages_stored_total', { kind: 'request' });
      const before = await stored();
      const program = start(serial, token);
      await expect.poll(stored).toBeGreaterThan(before);
      if (saysPosition) await expect.poll(program.said).toMatch(/position \d+ in the line/);
      await endWait();
      expect(await program.ended()).toMatchObject({ status: 0 });
    });
  });
}

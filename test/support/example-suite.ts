import { spawn } from 'node:child_process';
import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeDeviceKey } from '../../gateway-sim/device-key.ts';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import { connectDevice } from './device.ts';
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
  const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
  return {
    said: () => said,
    ended: async () => ({ status: await ended, said }),
    async kill() {
      child.kill('SIGKILL');
      await ended;
    },
  };
}

/** What every program of examples/ that speaks our own protocol does. */
export function exampleSuite({ name, command, missing, saysPosition }: Example): void {
  describe.skipIf(lacks('redis-server') || missing)(`examples/${name}`, { timeout: 60_000 }, () => {
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

    const provision = (serial: string, token: string) => {
      const { port, caFile } = gateway.broker;
      return startExample([...command, 'localhost', String(port), caFile, serial, join(folder, serial)], token).ended();
    };
    const stored = (serial: string, file: string) => readFileSync(join(folder, serial, file), 'utf8');

    it('gets a certificate for its own key, stores it, and acknowledges it; once more changes nothing', async () => {
      const { serial, token } = await gateway.enrolOnRoster(`example-${name}`);
      expect(await provision(serial, token)).toMatchObject({ status: 0 });
      const certificate = new X509Certificate(stored(serial, 'device.crt'));
      expect(certificate.checkPrivateKey(createPrivateKey(stored(serial, 'device.key')))).toBe(true);
      expect(certificate.publicKey.asymmetricKeyDetails).toEqual({ namedCurve: 'prime256v1' });
      expect(certificate.verify(createPublicKey(stored(serial, 'root-ca.pem')))).toBe(true);
      expect(statSync(join(folder, serial, 'device.key')).mode & 0o777).toBe(0o600);
      expect(stored(serial, 'endpoint')).toMatch(/\S/);
      await expect
        .poll(async () => (await gateway.registry.find(serial))?.deliveredAt, { timeout: 30_000 })
        .toBeGreaterThan(0);
      expect(gateway.logText()).not.toContain(token);
      expect(await provision(serial, token)).toMatchObject({ status: 0 });
      expect(new X509Certificate(stored(serial, 'device.crt')).fingerprint256).toBe(certificate.fingerprint256);
    });

    it('ends with what the gateway says, where that refuses for good', async () => {
      const { serial } = await gateway.enrolOnRoster(`refused-${name}`);
      const { status, said } = await provision(serial, 'w'.repeat(30));
      expect([status, said]).toEqual([1, expect.stringContaining('InvalidToken: the token does not fit this serial')]);
      expect(() => stored(serial, 'device.crt')).toThrow();
    });

    it('waits in the line behind others', async () => {
      gateway.aws.faults.set([{ operation: 'CreateCertificateFromCsr', kind: 'latency', ms: 1500, times: 1000 }]);
      const others = [];
      for (let count = 0; count < 4; count++) {
        const other = await gateway.enrolOnRoster(`before-${name}-${count}`);
        const device = await connectDevice(gateway.broker);
        const request = { token: other.token, csr: (await makeDeviceKey(other.serial)).csrPem };
        await device.client.publishAsync(requestTopic(other.serial), JSON.stringify(request), { qos: 1 });
        others.push(device);
      }
      const { serial, token } = await gateway.enrolOnRoster(`waits-${name}`);
      const { status, said } = await provision(serial, token);
      expect(status).toBe(0);
      if (saysPosition) expect(said).toMatch(/position \d+ in the line/);
      gateway.aws.faults.set([]);
      for (const { client } of others) await client.endAsync(true);
    });
  });
}

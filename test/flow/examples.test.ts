import { spawn, spawnSync } from 'node:child_process';
import { createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeDeviceKey } from '../../gateway-sim/device-key.ts';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import { connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

const examples = join(import.meta.dirname, '../../examples');

/** A Python with what the example needs: one of another place may stand first in PATH, and have none of it. */
const python = ['python3', '/usr/bin/python3'].find(
  (each) => spawnSync(each, ['-c', 'import paho.mqtt.client, cryptography']).status === 0,
);

const programs = [
  {
    name: 'shell',
    command: ['sh', join(examples, 'shell/provision.sh')],
    missing: ['openssl', 'jq', 'mosquitto_rr'].some(lacks),
  },
  { name: 'python', command: [python ?? '', join(examples, 'python/provision.py')], missing: python === undefined },
] as const;

describe.skipIf(lacks('redis-server')).each(programs)(
  'examples/$name',
  { timeout: 60_000 },
  ({ name, command, missing }) => {
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

    async function provision(serial: string, token: string) {
      const { port, caFile } = gateway.broker;
      const [program, script] = command;
      const child = spawn(program, [script, 'localhost', String(port), caFile, serial, join(folder, serial)]);
      let said = '';
      for (const each of [child.stdout, child.stderr]) each.on('data', (text) => (said += text));
      child.stdin.end(`${token}\n`);
      const status = await new Promise<number | null>((resolve) => child.once('exit', resolve));
      return { status, said };
    }
    const stored = (serial: string, file: string) => readFileSync(join(folder, serial, file), 'utf8');

    it.skipIf(missing)(
      'gets a certificate for its own key, stores it, and acknowledges it; once more changes nothing',
      async () => {
        const { serial, token } = await gateway.enrolOnRoster(`example-${name}`);
        expect(await provision(serial, token)).toMatchObject({ status: 0 });
        const certificate = new X509Certificate(stored(serial, 'device.crt'));
        expect(certificate.checkPrivateKey(createPrivateKey(stored(serial, 'device.key')))).toBe(true);
        expect(certificate.publicKey.asymmetricKeyDetails).toEqual({ namedCurve: 'prime256v1' });
        expect(certificate.verify(createPublicKey(stored(serial, 'root-ca.pem')))).toBe(true);
        expect(statSync(join(folder, serial, 'device.key')).mode & 0o777).toBe(0o600);
        expect(stored(serial, 'endpoint')).toMatch(/\S/);
        await expect.poll(async () => (await gateway.registry.find(serial))?.deliveredAt).toBeGreaterThan(0);
        expect(gateway.logText()).not.toContain(token);
        expect(await provision(serial, token)).toMatchObject({ status: 0 });
        expect(new X509Certificate(stored(serial, 'device.crt')).fingerprint256).toBe(certificate.fingerprint256);
      },
    );

    it.skipIf(missing)('ends with what the gateway says, where that refuses for good', async () => {
      const { serial } = await gateway.enrolOnRoster(`refused-${name}`);
      const { status, said } = await provision(serial, 'w'.repeat(30));
      expect([status, said]).toEqual([1, expect.stringContaining('InvalidToken: the token does not fit this serial')]);
      expect(() => stored(serial, 'device.crt')).toThrow();
    });

    it.skipIf(missing)('waits in the line behind others', async () => {
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
      if (name === 'python') expect(said).toMatch(/position \d+ in the line/);
      gateway.aws.faults.set([]);
      for (const { client } of others) await client.endAsync(true);
    });
  },
);

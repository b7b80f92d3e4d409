import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createServer } from 'node:tls';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { connectFleetDevice, create, fleetTemplate, provision, templateFolder } from '../support/fleet-device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { accepts, freePort, until } from '../support/network.ts';

const run = promisify(execFile);
const page = readFileSync('docs/fleet-provisioning.md', 'utf8');
/** The lines of the page, as they are copied. */
const [, lines = '', commands = ''] = /```ini\n([\s\S]*?)```\n\n```sh\n([\s\S]*?)```/.exec(page) ?? [];

describe.skipIf(lacks('redis-server') || lacks('stunnel') || lacks('openssl'))(
  'firmware that can be given neither user name nor pre-shared key, behind stunnel by the lines of the page',
  () => {
    let gateway: Gateway;
    let folder: string;
    let stunnel: ChildProcess | undefined;
    const templates = templateFolder({ pump: fleetTemplate() });
    beforeAll(async () => {
      gateway = await startGateway({ logLevel: 'info', env: { CVM_TEMPLATES_DIR: templates.folder } });
      folder = mkdtempSync(join(tmpdir(), 'cvm-stunnel-'));
    });
    afterEach(async () => {
      stunnel?.kill('SIGTERM');
      if (stunnel?.exitCode === null && stunnel.signalCode === null) await once(stunnel, 'exit');
    });
    afterAll(async () => {
      await gateway?.close();
      templates.remove();
      rmSync(folder, { recursive: true, force: true });
    });

    async function selfSigned() {
      const files = ['-keyout', 'stranger.key', '-out', 'stranger.crt', '-subj', '/CN=localhost'];
      const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
      await run('openssl', ['req', '-x509', ...key, ...files], { cwd: folder });
      const [certificate, privateKey] = ['stranger.crt', 'stranger.key'].map((name) =>
        readFileSync(join(folder, name)),
      );
      return { certificate, privateKey };
    }

    /** @returns a client of AWS, which shows a certificate that the gateway has never seen, and says nothing of itself */
    async function connectThroughProxy(serial: string, token: string, gatewayPort = gateway.broker.port) {
      await run('sh', ['-ec', commands.replaceAll('SN-1', serial)], {
        cwd: folder,
        env: { ...process.env, TOKEN: token },
      });
      const [port, between] = [await freePort(), await freePort()];
      const configuration = lines
        .replaceAll('/etc/stunnel/', `${folder}/`)
        .replaceAll('gateway:8883', `localhost:${gatewayPort}`)
        .replaceAll('127.0.0.1:8883', `127.0.0.1:${port}`)
        .replaceAll('127.0.0.1:8882', `127.0.0.1:${between}`);
      writeFileSync(join(folder, 'provisioning.conf'), `foreground = yes\npid =\n${configuration}`);
      stunnel = spawn('stunnel', [join(folder, 'provisioning.conf')], { stdio: 'ignore' });
      await until(() => accepts(port), 45_000, 'stunnel takes connections');
      const cert = readFileSync(join(folder, 'local.crt'));
      const key = readFileSync(join(folder, 'local.key'));
      return connectFleetDevice({ port, caPem: `${cert}` }, { host: '127.0.0.1', servername: 'localhost', cert, key });
    }

    it('gets its certificate and is registered as the device whose key the proxy has', async () => {
      const { serial, token } = await gateway.enrolOnRoster('behind-stunnel');
      const device = await connectThroughProxy(serial, token);
      const created = await device.ask(create('json'));
      expect(created.body).toMatchObject({ certificateId: expect.stringMatching(/^[0-9a-f]{64}$/) });
      const { certificateOwnershipToken } = created.body;
      const asked = { certificateOwnershipToken, parameters: { SerialNumber: serial } };
      const registered = await device.ask(provision('pump', 'json'), asked);
      expect(registered.body).toEqual({ deviceConfiguration: {}, thingName: serial });
      await device.leave();
    });

    it('reaches no server that has a certificate in the place of the key', async () => {
      const { certificate, privateKey } = await selfSigned();
      let shaken = 0;
      const stranger = createServer({ cert: certificate, key: privateKey }, () => void shaken++);
      stranger.on('tlsClientError', () => undefined);
      await new Promise<void>((resolve) => stranger.listen(0, '127.0.0.1', resolve));
      const { port } = stranger.address() as AddressInfo;
      await expect(connectThroughProxy('SN-2', 'a-token-of-no-device-at-all', port)).rejects.toThrow();
      expect(shaken).toBe(0);
      stranger.close();
    });
  },
);

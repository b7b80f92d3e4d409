import { execFile } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Reply } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

const run = promisify(execFile);

describe.skipIf(lacks('redis-server') || lacks('mosquitto_rr') || lacks('openssl'))(
  'real clients: mosquitto and openssl',
  () => {
    let gateway: Gateway;
    let folder: string;
    beforeAll(async () => {
      gateway = await startGateway();
      folder = mkdtempSync(join(tmpdir(), 'cvm-mosquitto-'));
    });
    afterAll(async () => {
      await gateway?.close();
      rmSync(folder, { recursive: true, force: true });
    });

    const broker = () => [
      '-h',
      'localhost',
      '-p',
      String(gateway.broker.port),
      '--cafile',
      gateway.broker.caFile,
      '-q',
      '1',
    ];
    const inFolder = (name: string, content: string) => {
      writeFileSync(join(folder, name), content);
      return join(folder, name);
    };

    async function requestResponse(serial: string, request: object): Promise<Reply> {
      const { stdout } = await run('mosquitto_rr', [
        '-V',
        'mqttv311',
        ...broker(),
        '-t',
        `cvm/request/${serial}`,
        '-e',
        `cvm/reply/${serial}`,
        '-m',
        // it ends at its first message, which on a slow machine would be that it waits
        JSON.stringify({ ...request, pending: false }),
        '-W',
        '60',
      ]);
      return JSON.parse(stdout) as Reply;
    }

    /** `openssl verify` of the chain, then a publish to AWS IoT's data plane by mutual TLS. */
    async function proveIdentity(serial: string, reply: Reply, keyFile: string): Promise<void> {
      const [ca, cert] = [
        inFolder(`${serial}.ca.pem`, reply.rootCa ?? ''),
        inFolder(`${serial}.crt`, reply.certificatePem ?? ''),
      ];
      expect((await run('openssl', ['verify', '-CAfile', ca, cert])).stdout).toContain('OK');
      await run('mosquitto_pub', [
        '-h',
        'localhost',
        '-p',
        String(gateway.aws.mqttPort),
        '--cafile',
        ca,
        '--cert',
        cert,
        '--key',
        keyFile,
        '-i',
        serial,
        '-q',
        '1',
        '-t',
        `${serial}/hello`,
        '-m',
        'hello',
      ]);
    }

    it('keys flow: mosquitto_rr receives certificate and key, and mosquitto_pub connects to AWS IoT with them', async () => {
      const { serial, token } = await gateway.enrol('mosquitto-keys');
      const reply = await requestResponse(serial, { token, id: 'm-1' });
      expect(reply).toMatchObject({ status: 'accepted', id: 'm-1', thingName: serial });
      await proveIdentity(serial, reply, inFolder(`${serial}.key`, reply.privateKey ?? ''));
    });

    it('CSR flow: the key that openssl made never leaves the device', async () => {
      const { serial, token } = await gateway.enrol('mosquitto-csr');
      const [key, csr] = [join(folder, `${serial}.key`), join(folder, `${serial}.csr`)];
      await run('openssl', ['ecparam', '-name', 'prime256v1', '-genkey', '-noout', '-out', key]);
      await run('openssl', ['req', '-new', '-key', key, '-subj', `/CN=${serial}`, '-out', csr]);
      const { stdout } = await run('openssl', ['req', '-in', csr]);
      const reply = await requestResponse(serial, { token, csr: stdout });
      expect(reply).toMatchObject({ status: 'accepted', thingName: serial });
      expect(reply).not.toHaveProperty('privateKey');
      expect(new X509Certificate(reply.certificatePem ?? '').publicKey.asymmetricKeyDetails).toEqual({
        namedCurve: 'prime256v1',
      });
      await proveIdentity(serial, reply, key);
    });

    it("another device's certificate does not connect", async () => {
      const { serial, token } = await gateway.enrol('mosquitto-impostor');
      const reply = await requestResponse(serial, { token, key: 'ec' });
      const key = inFolder('impostor.key', reply.privateKey ?? '');
      const as = (clientId: string) =>
        run('mosquitto_pub', [
          '-h',
          'localhost',
          '-p',
          String(gateway.aws.mqttPort),
          '--cafile',
          inFolder('impostor.ca', reply.rootCa ?? ''),
          '--cert',
          inFolder('impostor.crt', reply.certificatePem ?? ''),
          '--key',
          key,
          '-i',
          clientId,
          '-q',
          '1',
          '-t',
          `${clientId}/hello`,
          '-m',
          'hello',
        ]);
      await as(serial);
      await expect(as('somebody-else')).rejects.toThrow();
    });

    it('a refusal reaches mosquitto_rr with all three error fields', async () => {
      const reply = await requestResponse('mosquitto-unknown', { token: 'wrong-wrong-wrong-wrong-wrong' });
      expect(reply).toMatchObject({
        status: 'rejected',
        statusCode: 401,
        errorCode: 'InvalidToken',
        errorMessage: expect.any(String),
      });
    });

    it("mosquitto_sub with the token as its password hears the answer to mosquitto_pub's request", async () => {
      const { serial, token } = await gateway.enrol('mosquitto-sub');
      const presentedToken = ['-u', serial, '-P', token];
      const listening = run('mosquitto_sub', [
        ...broker(),
        ...presentedToken,
        '-t',
        `cvm/reply/${serial}`,
        '-C',
        '1',
        '-W',
        '60',
      ]);
      let isEnded = false;
      const ended = () => {
        isEnded = true;
      };
      listening.then(ended, ended);
      const request = [...presentedToken, '-t', `cvm/request/${serial}`, '-m', '{"key":"ec","pending":false}'];
      // its subscription may come after the answer, which a device then asks for again
      while (!isEnded) {
        await run('mosquitto_pub', [...broker(), ...request]);
        await new Promise((resolve) => setTimeout(resolve, 1000));
      }
      expect(JSON.parse((await listening).stdout)).toMatchObject({ status: 'accepted', thingName: serial });
    });
  },
);

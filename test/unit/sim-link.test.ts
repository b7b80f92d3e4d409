import type { AddressInfo } from 'node:net';
import { createServer, type Server } from 'node:tls';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { type LinkEvents, openLink, openTarget } from '../../gateway-sim/link.ts';
import { newP256Key } from '../../runtime/p256.ts';
import { SubjectAlternativeNameExtension, X509CertificateGenerator } from '../../runtime/x509.ts';

let server: Server;
let caPem: string;

beforeAll(async () => {
  const { keys, privateKeyPem } = await newP256Key();
  const certificate = await X509CertificateGenerator.createSelfSigned({
    ...{ name: [{ CN: ['gateway'] }], keys, signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' } },
    extensions: [new SubjectAlternativeNameExtension([{ type: 'dns', value: 'localhost' }])],
  });
  caPem = certificate.toString('pem');
  server = createServer({ cert: caPem, key: privateKeyPem }, (socket) => socket.on('error', () => {}).resume());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
});

afterAll(() => server.close());

const portOf = () => (server.address() as AddressInfo).port;

/** @returns what the device hears of its connection first */
const open = (target: ReturnType<typeof openTarget>) =>
  new Promise<string | undefined>((resolve) => {
    const owner: LinkEvents = {
      secured: () => resolve('secured'),
      received() {},
      connected() {},
      broken: (error) => resolve(error?.message),
    };
    openLink(target, 0, owner);
  });

it('a connection that the system refuses at once is broken, with the reason, and the run goes on', async () => {
  const target = openTarget({ host: 'localhost', port: 1883, caPem: '' });
  // as when no file or no port is left, this fails within connect(): no socket may send to all
  target.known = [{ address: '255.255.255.255', family: 4 }];
  expect(await open(target)).toMatch(/^connect E/);
});

it("reads the gateway's certificate once, and compares its name with the host's for every connection", async () => {
  const right = openTarget({ host: 'localhost', port: portOf(), caPem });
  expect([await open(right), await open(right), right.certificates.size]).toEqual(['secured', 'secured', 1]);
  const wrong = openTarget({ host: '127.0.0.1', port: portOf(), caPem });
  for (const _ of [1, 2]) expect(await open(wrong)).toMatch(/IP: 127\.0\.0\.1 is not in the cert's list/);
});

it('verifies the chain of a certificate that it has read before', async () => {
  const known = openTarget({ host: 'localhost', port: portOf(), caPem });
  await open(known);
  const other = { ...openTarget({ host: 'localhost', port: portOf(), caPem: '' }), certificates: known.certificates };
  expect(await open(other)).toMatch(/self-signed certificate/);
});

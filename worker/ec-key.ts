import 'reflect-metadata';
import { generateKeyPair, webcrypto } from 'node:crypto';
import { promisify } from 'node:util';
import { Pkcs10CertificateRequestGenerator } from '@peculiar/x509';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

/** A P-256 key pair made at the gateway: the private key (PKCS#8 PEM, which mbedTLS and OpenSSL read) and its CSR. */
export async function makeEcKey(serial: string): Promise<{ privateKeyPem: string; csrPem: string }> {
  const pair = await promisify(generateKeyPair)('ec', { namedCurve: 'P-256' });
  const keys = {
    privateKey: await importKey('pkcs8', pair.privateKey.export({ format: 'der', type: 'pkcs8' }), 'sign'),
    publicKey: await importKey('spki', pair.publicKey.export({ format: 'der', type: 'spki' }), 'verify'),
  };
  // as a structure, not as text: a serial may hold what a distinguished name gives a meaning to
  const request = await Pkcs10CertificateRequestGenerator.create({
    name: [{ CN: [serial] }],
    keys,
    signingAlgorithm: algorithm,
  });
  return {
    privateKeyPem: pair.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    csrPem: `${request.toString('pem')}\n`,
  };
}

function importKey(format: 'pkcs8' | 'spki', der: Buffer, usage: 'sign' | 'verify') {
  return webcrypto.subtle.importKey(format, der, algorithm, true, [usage]);
}

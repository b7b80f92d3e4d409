import { createPublicKey, type KeyObject } from 'node:crypto';
import { newP256Key } from '../runtime/p256.ts';
import { Pkcs10CertificateRequestGenerator } from '../runtime/x509.ts';
import { readPrivateKey } from './private-key.ts';

/** PEM, and the key ready for use. */
export type DeviceKey = {
  readonly privateKeyPem: string;
  readonly privateKey: KeyObject;
  /** of the public key, DER */
  readonly spki: Buffer;
  readonly csrPem: string;
};

/** A P-256 key that never leaves the simulated device, and its CSR. */
export async function makeDeviceKey(serial: string): Promise<DeviceKey> {
  const { privateKeyPem, keys } = await newP256Key();
  const csr = await Pkcs10CertificateRequestGenerator.create({
    name: [{ CN: [serial] }],
    keys,
    signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
  });
  const privateKey = readPrivateKey(privateKeyPem);
  const spki = createPublicKey(privateKey).export({ format: 'der', type: 'spki' });
  return { privateKeyPem, privateKey, spki, csrPem: csr.toString('pem') };
}

import { newP256Key } from '../../runtime/p256.ts';
import { Pkcs10CertificateRequestGenerator } from '../../runtime/x509.ts';

/** CSRs of one key pair, in PEM: all differ, since ECDSA signatures are random. */
export async function csrsOfOneKey(serial: string, count: number): Promise<string[]> {
  const { keys } = await newP256Key();
  const make = () =>
    Pkcs10CertificateRequestGenerator.create({
      name: [{ CN: [serial] }],
      keys,
      signingAlgorithm: { name: 'ECDSA', hash: 'SHA-256' },
    });
  const csrs = await Promise.all(Array.from({ length: count }, make));
  return csrs.map((csr) => csr.toString('pem'));
}

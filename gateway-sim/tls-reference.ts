import { fork } from 'node:child_process';
import { extname, join } from 'node:path';
import { newP256Key } from '../runtime/p256.ts';
import { BasicConstraintsExtension, X509CertificateGenerator } from '../runtime/x509.ts';
import type { TlsCost } from './report.ts';

export type ReferenceOrder = {
  readonly caPem: string;
  readonly certificatePem: string;
  readonly keyPem: string;
  readonly connections: number;
};

/**
 * What one bare TLS connection of Node.js costs the side that connects: what the simulator spends beyond it is its own. A process of its own
 * makes the connections, warm, and another one serves them with a P-256 certificate of a P-256 CA, as a gateway does.
 */
export async function measureTls(connections: number): Promise<TlsCost> {
  const client = fork(sibling('tls-reference-client'), { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
  // heard from the first moment: where no file or process is left, it ends at once
  const cost = new Promise<TlsCost>((resolve, reject) => {
    client.once('message', (message) => resolve(message as TlsCost));
    client.on('error', reject);
    client.once('exit', (code) => reject(new Error(`the TLS reference ended with status ${code} and no figures`)));
  });
  cost.catch(() => {});
  try {
    const order: ReferenceOrder = { ...(await makeCertificates()), connections };
    // an order that does not arrive shows in the end of the process
    if (client.connected) client.send(order, () => {});
    return await cost;
  } finally {
    client.kill();
  }
}

/** A program beside this file, built as this file is. */
export const sibling = (name: string): string => join(import.meta.dirname, `${name}${extname(import.meta.filename)}`);

async function makeCertificates(): Promise<Omit<ReferenceOrder, 'connections'>> {
  const [ca, server] = [await newP256Key(), await newP256Key()];
  const signingAlgorithm = { name: 'ECDSA', hash: 'SHA-256' };
  const validity = { notBefore: new Date(Date.now() - 3_600_000), notAfter: new Date(Date.now() + 86_400_000) };
  const root = await X509CertificateGenerator.createSelfSigned({
    ...{ name: [{ CN: ['reference CA'] }], keys: ca.keys, signingAlgorithm, serialNumber: '01', ...validity },
    extensions: [new BasicConstraintsExtension(true, undefined, true)],
  });
  const leaf = await X509CertificateGenerator.create({
    ...{ subject: [{ CN: ['localhost'] }], issuer: root.subject, signingKey: ca.keys.privateKey },
    ...{ publicKey: server.keys.publicKey, signingAlgorithm, serialNumber: '02', ...validity },
  });
  return { caPem: root.toString('pem'), certificatePem: leaf.toString('pem'), keyPem: server.privateKeyPem };
}

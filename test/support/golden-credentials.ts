import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Credentials } from '../../protocol/answer.ts';

type Vended = {
  readonly certificateId: string;
  readonly certificatePem: string;
  readonly privateKey: string;
};

const stored = JSON.parse(readFileSync(join(import.meta.dirname, '../golden/credentials.json'), 'utf8')) as {
  readonly serial: string;
  readonly token: string;
  /** epoch seconds at the gateway */
  readonly time: number;
  readonly endpoint: string;
  readonly rootCa: string;
  /** PEM; of the key of `ec` */
  readonly csr: string;
  readonly ec: Vended;
  readonly rsa: Vended;
};

/** What the golden messages are made of: one device, its keys and certificates, and the time. They are of use nowhere. */
export const { serial, token, time, csr } = stored;

/** Whose key pair it is: of AWS IoT Core, of the gateway, or of the device, which keeps the private key. */
export type GoldenFlow = 'rsa' | 'ec' | 'csr';

/** What its template says to the device. */
export const configuration = { url: 'https://north.example' };

export function credentialsOf(flow: GoldenFlow): Credentials {
  const { certificateId, certificatePem, privateKey } = stored[flow === 'rsa' ? 'rsa' : 'ec'];
  const key = flow === 'csr' ? {} : { privateKeyPem: privateKey };
  const { endpoint, rootCa: rootCaPem } = stored;
  return { certificateId, certificatePem, ...key, thingName: serial, endpoint, rootCaPem };
}

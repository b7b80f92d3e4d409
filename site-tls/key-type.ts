import { newP256Key } from '../runtime/p256.ts';
import { newRsaKey } from '../runtime/rsa.ts';

/** Of the server and of the CA that signs its certificate: P-256, or RSA-2048 for firmware that knows nothing else. */
export type KeyType = 'ec' | 'rsa';

/** CVM_TLS_KEY_TYPE. `both`: the client's offer decides; a client that can do both gets P-256. */
export type ServedKeyTypes = KeyType | 'both';

export const keyTypes = (served: ServedKeyTypes): readonly KeyType[] => (served === 'both' ? ['ec', 'rsa'] : [served]);

/** Makes a private key (PKCS #8 in PEM). */
export async function newKey(type: KeyType): Promise<string> {
  return type === 'rsa' ? newRsaKey() : (await newP256Key()).privateKeyPem;
}

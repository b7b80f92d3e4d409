import { createPrivateKey, hkdfSync } from 'node:crypto';

const dayMs = 24 * 60 * 60 * 1000;

/** As long as Node.js wants them: a name, a key for HMAC-SHA256, and one for AES-128. */
const length = 48;

/** HKDF's `info`: nothing else is derived from a server's key. */
const info = 'cvm-gateway tls ticket keys v1';

/** The day of UTC: with the next one come other keys, and what the old ones sealed resumes nothing. */
export const ticketDay = (now: number): number => Math.floor(now / dayMs);

/**
 * What session tickets of TLS 1.3 are sealed with, from the key of the server certificate. Brokers that have the same server key
 * resume each other's sessions, and nothing has to be kept or sent for that: Redis and the table hold nothing of it. The holder
 * of the server key can stand for the server in any case. It reads no recorded session with these keys: TLS 1.3 makes new ones by ECDHE
 * in each handshake, and a ticket holds those of no connection. One of TLS 1.2 does, so there are none.
 * @param serverKey PEM
 */
export function ticketKeysOf(serverKey: string, day: number): Buffer {
  const secret = createPrivateKey(serverKey).export({ format: 'der', type: 'pkcs8' });
  return Buffer.from(hkdfSync('sha256', secret, String(day), info, length));
}

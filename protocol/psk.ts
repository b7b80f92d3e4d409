import { hkdfSync } from 'node:crypto';

/** HKDF's `info`: the other keys that are derived from a token have another one (RFC 5869 §3.2). */
const info = 'cvm-gateway tls psk v1';

/**
 * The TLS pre-shared key of a device: HKDF-SHA256 (RFC 5869) with the token's bytes as input keying material, the serial
 * as salt, and 32 bytes out. The identity is the serial. docs/protocol.md has a test vector.
 */
export function derivePsk(serial: string, token: string): Buffer {
  return Buffer.from(hkdfSync('sha256', token, serial, info, 32));
}

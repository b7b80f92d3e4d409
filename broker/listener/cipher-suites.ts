import { constants } from 'node:crypto';

/** Which cipher suites are offered: `modern`, or `old` for firmware that has nothing better. TLS 1.2 at least, in any case. */
export type TlsSuites = 'modern' | 'old';

/**
 * Authenticated encryption, with forward secrecy wherever there is a certificate. The pre-shared-key suites without it are
 * the profile for constrained devices (RFC 7925 §4.2); who can, takes ECDHE-PSK or TLS 1.3.
 */
const modern = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305',
  'ECDHE-ECDSA-AES128-CCM8',
  'ECDHE-ECDSA-AES128-CCM',
  'ECDHE-PSK-CHACHA20-POLY1305',
  'PSK-AES128-GCM-SHA256',
  'PSK-AES256-GCM-SHA384',
  'PSK-CHACHA20-POLY1305',
  'PSK-AES128-CCM',
  'PSK-AES128-CCM8',
];

/** CBC, and RSA key exchange for an operator's RSA certificate. */
const old = [
  'ECDHE-ECDSA-AES128-SHA256',
  'ECDHE-RSA-AES128-SHA256',
  'ECDHE-ECDSA-AES128-SHA',
  'ECDHE-RSA-AES128-SHA',
  'ECDHE-PSK-AES128-CBC-SHA256',
  'PSK-AES128-CBC-SHA256',
  'PSK-AES128-CBC-SHA',
  'AES128-GCM-SHA256',
  'AES128-SHA256',
  'AES128-SHA',
];

/**
 * OpenSSL's security levels know no exception: from 3.2 on, its level 1 forbids CCM-8 for its 64-bit tag, which is what devices
 * of RFC 7925 have. So there is no level, and what a level would keep out is kept out by name: suites above, and here SHA-1
 * signatures. Short curves are not among OpenSSL's own choice.
 */
const noLevel = '@SECLEVEL=0';
const signatures = [
  'ecdsa_secp256r1_sha256',
  'ecdsa_secp384r1_sha384',
  'ecdsa_secp521r1_sha512',
  'ed25519',
  'rsa_pss_rsae_sha256',
  'rsa_pss_rsae_sha384',
  'rsa_pss_rsae_sha512',
  'rsa_pkcs1_sha256',
  'rsa_pkcs1_sha384',
  'rsa_pkcs1_sha512',
];

/** What goes into every TLS context of the broker. */
export function contextOptions(suites: TlsSuites) {
  return {
    ciphers: [...modern, ...(suites === 'old' ? old : []), noLevel].join(':'),
    sigalgs: signatures.join(':'),
    minVersion: 'TLSv1.2' as const,
    // a device provisions once: resumption saves it nothing, and would let a session outlive its token
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
  };
}

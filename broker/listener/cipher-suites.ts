import { constants } from 'node:crypto';

/** The cipher suites on offer: `modern`, or `old` for firmware that has no better ones. Both need TLS 1.2 or newer. */
export type TlsSuites = 'modern' | 'old';

/*
 * The server's order decides (Node's default), so suites by pre-shared key stand first: mbedTLS's and wolfSSL's default clients
 * offer certificate suites beside them also when they have a key. By certificate they would send the token, or what comes next, to
 * a server that they may not have verified.
 */

/** The first two go with SHA-256, as a device's key does (RFC 8446 §4.2.11): a client that has one of them can use its key. */
const tls13 = ['TLS_AES_128_GCM_SHA256', 'TLS_CHACHA20_POLY1305_SHA256', 'TLS_AES_256_GCM_SHA384'];

/**
 * Authenticated encryption; with a certificate always forward secrecy. The pre-shared-key suites without forward secrecy are
 * the profile for constrained devices (RFC 7925 §4.2); a device that can uses ECDHE-PSK or TLS 1.3.
 */
const modern = {
  psk: [
    'ECDHE-PSK-CHACHA20-POLY1305',
    'PSK-AES128-GCM-SHA256',
    'PSK-AES256-GCM-SHA384',
    'PSK-CHACHA20-POLY1305',
    'PSK-AES128-CCM',
    'PSK-AES128-CCM8',
  ],
  certificate: [
    'ECDHE-ECDSA-AES128-GCM-SHA256',
    'ECDHE-RSA-AES128-GCM-SHA256',
    'ECDHE-ECDSA-AES256-GCM-SHA384',
    'ECDHE-RSA-AES256-GCM-SHA384',
    'ECDHE-ECDSA-CHACHA20-POLY1305',
    'ECDHE-RSA-CHACHA20-POLY1305',
    'ECDHE-ECDSA-AES128-CCM8',
    'ECDHE-ECDSA-AES128-CCM',
  ],
};

/** CBC suites, and RSA key exchange for an RSA certificate. */
const old = {
  psk: ['ECDHE-PSK-AES128-CBC-SHA256', 'PSK-AES128-CBC-SHA256', 'PSK-AES128-CBC-SHA'],
  certificate: [
    'ECDHE-ECDSA-AES128-SHA256',
    'ECDHE-RSA-AES128-SHA256',
    'ECDHE-ECDSA-AES128-SHA',
    'ECDHE-RSA-AES128-SHA',
    'AES128-GCM-SHA256',
    'AES128-SHA256',
    'AES128-SHA',
  ],
};

/**
 * OpenSSL's security levels have no exceptions: from 3.2 on, level 1 forbids CCM-8 for its 64-bit tag, and devices of RFC 7925
 * have only that. So the level is 0, and the names do what a level would do: the lists of suites above, and this list of
 * signatures without SHA-1. OpenSSL offers no short curves by itself.
 */
const noSecurityLevel = '@SECLEVEL=0';
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

/**
 * P-256 first: wolfSSL's client (seen with 5.5) fails with X25519 in ECDHE-PSK. In TLS 1.3 a client sends its share of the key
 * for the groups that it prefers, and OpenSSL takes one of those.
 */
const usualGroups = 'P-256:X25519:P-384:P-521:X448';
/** Against those who record traffic now and have a quantum computer later. OpenSSL knows it from 3.5 on: Node 24. */
const hybridGroup = 'X25519MLKEM768';
const groups = isKnown() ? `${hybridGroup}:${usualGroups}` : usualGroups;

/** By version: to try the group leaves an error in OpenSSL's queue, and Node.js 20.19 then fails to read the next key. */
function isKnown(): boolean {
  const [major = 0, minor = 0] = process.versions.openssl.split('.').map(Number);
  return major > 3 || (major === 3 && minor >= 5);
}

/** The same by their numbers at IANA, in the order of `modern.psk` and `old.psk`. */
const pskNumbers: readonly number[] = [0xccac, 0xa8, 0xa9, 0xccab, 0xc0a4, 0xc0a8, 0xc037, 0xae, 0x8c];

export const isByPsk = (suite: number): boolean => pskNumbers.includes(suite);

/**
 * A context takes pre-shared keys, or session tickets, or neither. Never both: in TLS 1.3 Node.js tells a key from a ticket no
 * more, and what resumes a session proves no key.
 */
export type ContextKind = 'keys' | 'tickets' | 'neither';

/** The options of the broker's TLS contexts, by what they take beside certificates. */
export function contextOptions(suites: TlsSuites, kind: ContextKind) {
  const lists = suites === 'old' ? [modern, old] : [modern];
  const byPsk = kind === 'keys' ? lists.flatMap((list) => list.psk) : [];
  const ordered = [...tls13, ...byPsk, ...lists.flatMap((list) => list.certificate)];
  const common = { ciphers: [...ordered, noSecurityLevel].join(':'), ecdhCurve: groups, sigalgs: signatures.join(':') };
  if (kind === 'tickets')
    return {
      ...common,
      // a ticket of TLS 1.2 holds the keys of its session and travels in clear: `ticket-keys.ts`
      minVersion: 'TLSv1.3' as const,
      // every broker that has the keys takes them: by default it would depend on the command line
      sessionIdContext: 'cvm-gateway',
      sessionTimeout: ticketSeconds,
      secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
    };
  return {
    ...common,
    minVersion: 'TLSv1.2' as const,
    // in TLS 1.3 this makes OpenSSL send tickets with an id only, under which Node.js keeps nothing
    secureOptions: constants.SSL_OP_NO_TICKET | constants.SSL_OP_NO_RENEGOTIATION,
  };
}

/** A device that was told to come back does so within the day, or once more by a whole handshake. */
const ticketSeconds = 24 * 60 * 60;

import type { TlsFault } from '../../telemetry/sightings.ts';
import { handshakeTooLong, tooLong } from './bounded-handshake.ts';
import type { Handshake, KeyUnused } from './connection.ts';
import { isHttps } from './http-clients.ts';

/** What is known of a handshake that failed. */
export type FailedHandshake = Pick<Handshake, 'serial' | 'offered' | 'offersHttp'>;

const trust =
  'give it the site CA (`cvm tls show` names the file; with CVM_TLS_KEY_TYPE=both that of P-256, unless it offers RSA only), after a change of the CA once more';
const certificate =
  'check that it connects by a name in the certificate (`cvm tls show`, CVM_HOSTNAMES), that its clock is right, and that it has the site CA';
const suites =
  'docs/protocol.md lists what is on offer; firmware that has RSA only, or ECDSA only where the server has RSA, needs CVM_TLS_KEY_TYPE=both, firmware with CBC only CVM_TLS_SUITES=old';

/** Why a handshake failed: its name, and what to check, in one line for the log. */
export type HandshakeFailure = { readonly fault: TlsFault; readonly reason: string };

/**
 * OpenSSL's reasons, as Node.js puts them into codes, with cause and cure. Names of alerts (RFC 8446 §6.2) come after different
 * words in its versions.
 */
const reasons: readonly (readonly [RegExp, TlsFault, string])[] = [
  [/_ALERT_UNKNOWN_CA$/, 'untrusted-ca', `it does not trust the CA of the server certificate: ${trust}`],
  [
    /_ALERT_(BAD_CERTIFICATE|CERTIFICATE_UNKNOWN)$/,
    'certificate-refused',
    `it refuses the server certificate: ${certificate}`,
  ],
  [
    /_ALERT_CERTIFICATE_EXPIRED$/,
    'clock-1970',
    'the server certificate is not valid at the time that its clock shows: set its clock',
  ],
  [
    /_ALERT_UNSUPPORTED_CERTIFICATE$/,
    'certificate-kind',
    'it cannot use the kind of the server certificate: firmware that has RSA only needs CVM_TLS_KEY_TYPE=both',
  ],
  [/_NO_SHARED_CIPHER$/, 'no-shared-cipher', `it offers no cipher suite and curve that are on offer here: ${suites}`],
  [
    /_NO_(SUITABLE|SHARED)_SIGNATURE_ALGORITHMS?$/,
    'no-shared-signature',
    `it accepts no signature that the server's key can make: ${suites}`,
  ],
  [
    /_NO_SUITABLE_(KEY_SHARE|GROUPS)$/,
    'no-shared-curve',
    'it offers no curve that is on offer here: P-256, X25519, P-384, P-521 or X448',
  ],
  [
    /_(UNSUPPORTED_PROTOCOL|VERSION_TOO_LOW|UNKNOWN_PROTOCOL)$/,
    'tls-version',
    'it speaks no version of TLS that is on offer here: it needs TLS 1.2 or 1.3',
  ],
  [/_PSK_IDENTITY_NOT_FOUND$/, 'psk-identity', 'its pre-shared-key identity is no serial'],
  [new RegExp(`^${handshakeTooLong}$`), 'tls-failed', tooLong],
  [/^ERR_TLS_HANDSHAKE_TIMEOUT$/, 'handshake-timeout', 'it did not finish its handshake in time'],
  [
    /^(ECONNRESET|EPIPE)$/,
    'handshake-ended',
    'it ended the connection during the handshake without saying why: check that it has the site CA, connects by a name in the certificate (`cvm tls show`) and has the right time, and with mbedTLS 2 that its max_fragment_length is 1024 or more',
  ],
];

/** A wrong key shows as a message that cannot be read: in TLS 1.2 the client's Finished, in 1.3 the binder of its key. */
const wrongKey = /_(DECRYPTION_FAILED_OR_BAD_RECORD_MAC|BINDER_DOES_NOT_VERIFY)$/;

export function whyHandshakeFailed(
  code: string,
  { serial, offered, offersHttp = false }: FailedHandshake,
): HandshakeFailure {
  // whatever TLS lacks: with it, its HTTP would be refused
  if (offersHttp) return { fault: 'not-tls', reason: isHttps };
  if (wrongKey.test(code) && serial !== undefined)
    return offered === undefined ? { fault: 'psk-unknown', reason: noKey } : { fault: 'psk-wrong', reason: keyDiffers };
  const known = reasons.find(([pattern]) => pattern.test(code));
  if (known !== undefined) return { fault: known[1], reason: known[2] };
  const [, alert] = /_ALERT_(\w+)$/.exec(code) ?? [];
  return alert === undefined
    ? { fault: 'tls-failed', reason: `TLS failed (${code})` }
    : { fault: 'handshake-ended', reason: `it ended the handshake with the alert ${alert.toLowerCase()}` };
}

/**
 * A client with a key may finish its handshake by certificate, unless it looks, and then asks without a token. The answer tells
 * nothing about keys: the same holds for a serial that is not known here.
 * @returns why its key was not used; undefined for a client that showed none
 */
export function whyKeyUnused({
  named,
  namedNoSerial = false,
  withoutPsk = false,
}: Pick<Handshake, 'named' | 'namedNoSerial' | 'withoutPsk'>): KeyUnused | undefined {
  const connectAgain = withoutPsk;
  if (named > 0) return { reason: doesNotFit, connectAgain };
  if (namedNoSerial)
    return { reason: 'the TLS pre-shared key was not used, since its identity is no serial', connectAgain };
  return withoutPsk ? { reason: seemedKeyless, connectAgain } : undefined;
}

const doesNotFit =
  'the TLS pre-shared key was not used, since it goes with SHA-256: offer TLS_AES_128_GCM_SHA256 or TLS_CHACHA20_POLY1305_SHA256';
const seemedKeyless =
  'TLS went by certificate, since the connection before ended when a suite by pre-shared key was chosen: if the device has a key, connect again';

/** Whether the other side has ended a handshake. */
export const isEndedByClient = (code: string): boolean => /_ALERT_|^(ECONNRESET|EPIPE)$/.test(code);

export const noKeyForSuite: HandshakeFailure = {
  fault: 'no-key',
  reason:
    'it ended the handshake when a suite by pre-shared key was chosen, so it seems to have no key; its next connection goes by certificate, and all do when such suites are left out of its TLS stack',
};

const keyDiffers =
  'its pre-shared key is not the one of this serial: check the token that it was made of, and how (docs/protocol.md has a test vector)';
const noKey =
  'this gateway has no key of this serial: check the serial, that the device is enrolled, and for this gateway (`cvm devices show`)';

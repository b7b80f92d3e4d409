import { createHash } from 'node:crypto';
import type { TLSSocket } from 'node:tls';

/**
 * The client certificate of a finished handshake, which has proved that the client has its key. `id`: lower-case hex SHA-256 of its DER;
 * whether it is a claim certificate, the table tells. `fault`: why it can be none.
 */
export type ClaimOffer = { readonly id: string } | { readonly fault: string };

/** @returns undefined where the client has shown none. A session that was resumed shows none: it may have been made before a revocation. */
export function claimOf(socket: TLSSocket): ClaimOffer | undefined {
  const certificate = socket.isSessionReused() ? undefined : socket.getPeerX509Certificate();
  if (certificate === undefined) return undefined;
  if (socket.authorized) return { id: createHash('sha256').update(certificate.raw).digest('hex') };
  return { fault: faults[String(socket.authorizationError)] ?? 'it is not signed by the CA of claim certificates' };
}

/** By the code of OpenSSL's X509_verify_cert. */
const faults: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: 'it has ended',
  CERT_NOT_YET_VALID: 'it begins later, by the clock of the gateway',
  INVALID_PURPOSE: 'it is not for TLS clients (extended key usage clientAuth)',
};

import { createHmac, randomBytes } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { isSerial } from '../../protocol/serial.ts';
import type { DeviceKeys } from '../../sealing/device-keys.ts';
import type { Roster } from '../roster.ts';

/**
 * A device names its serial, and once more after a HelloRetryRequest. A ClientHello has room for thousands, and OpenSSL asks
 * for each in turn as long as none has a key whose hash fits the suites that were offered.
 */
const maxNamed = 2;

/** A device that proved its token in the handshake. */
export type PskIdentity = { readonly serial: string; readonly tokenHash: string; readonly keys: DeviceKeys };

/**
 * TLS with a pre-shared key (RFC 4279, RFC 8446 §4.2.11): the identity is the serial. A serial that has no key gets one
 * that nobody knows, so that its handshake fails as one with a wrong key does, after the same work: no oracle.
 */
export function createPskAuthenticator(roster: Pick<Roster, 'keysOf'>) {
  const decoySecret = randomBytes(32);
  /** what each handshake was given last: of several keys, OpenSSL uses the last that it was given */
  const given = new WeakMap<TLSSocket, PskIdentity | undefined>();
  /** how many serials a handshake has named; opening the keys of one costs more than all the rest */
  const named = new WeakMap<TLSSocket, number>();

  function forget(socket: TLSSocket): void {
    const unused = given.get(socket);
    unused?.keys.psk.fill(0);
    unused?.keys.replySeed.fill(0);
    given.delete(socket);
  }

  return {
    /** The handshake of this socket failed. */
    forget,
    /** Node's `pskCallback`. What is no serial gets no key: with TLS 1.3 such an identity is a session ticket. */
    callback(socket: TLSSocket, identity: string): Buffer | null {
      forget(socket);
      const count = named.get(socket) ?? 0;
      if (!isSerial(identity) || count >= maxNamed) return null;
      named.set(socket, count + 1);
      const found = roster.keysOf(identity);
      // all of it in any case: time must not tell who has a key
      const decoy = createHmac('sha256', decoySecret).update(identity).digest();
      const presentedToken = {
        serial: identity,
        tokenHash: found?.tokenHash ?? '',
        keys: found?.keys ?? { psk: decoy, replySeed: decoy },
      };
      given.set(socket, found === undefined ? undefined : presentedToken);
      // Node wipes what it is given
      return Buffer.from(presentedToken.keys.psk);
    },
    /** What the finished handshake of this socket has proven; undefined when it went by certificate. */
    provenBy(socket: TLSSocket): PskIdentity | undefined {
      const presentedToken = given.get(socket);
      if (presentedToken === undefined || !usedPsk(socket)) {
        forget(socket);
        return undefined;
      }
      given.delete(socket);
      return presentedToken;
    },
  };
}

/**
 * That a key was asked for does not mean that it was used: a TLS 1.3 client that names a victim and offers suites that do
 * not fit the key goes on by certificate, and finishes. With tickets off, a session that counts as resumed is one by
 * pre-shared key; in TLS 1.2 the suite says it.
 */
function usedPsk(socket: TLSSocket): boolean {
  return socket.getProtocol() === 'TLSv1.3' ? socket.isSessionReused() : /(^|-)PSK-/.test(socket.getCipher().name);
}

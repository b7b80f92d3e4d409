import { createHmac, randomBytes } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { isSerial } from '../../protocol/serial.ts';
import type { DeviceKeys } from '../../sealing/device-keys.ts';
import type { Roster } from '../roster.ts';

/**
 * A device names its serial once, and once more after a HelloRetryRequest. A ClientHello has room for thousands of
 * identities, and OpenSSL asks for the key of each in turn until one has a key whose hash fits the suites on offer.
 */
const maxNamed = 2;

/** A device that its TLS handshake authenticated. */
export type PskIdentity = { readonly serial: string; readonly tokenHash: string; readonly keys: DeviceKeys };

/** What one TLS handshake was offered so far. */
export type PskOffer = {
  /** how many serials it has named; opening the keys of one costs more than the rest of the handshake */
  named: number;
  /** the serial that it named last, for the log */
  serial?: string;
  /** it named an identity that is no serial: of a key, or a ticket of another server */
  namedNoSerial?: boolean;
  /** the device whose key it got last, since OpenSSL uses the last key that it gets; undefined for a decoy */
  offered: PskIdentity | undefined;
};

/**
 * TLS with a pre-shared key (RFC 4279, RFC 8446 §4.2.11): the identity is the serial. A serial without a key gets a secret
 * decoy, so that its handshake fails like one with a wrong key, after the same work: an attacker learns nothing.
 */
export function createPskAuthenticator(roster: Pick<Roster, 'keysOf'>) {
  const decoySecret = randomBytes(32);

  /** Takes the offer back and wipes its keys. */
  function withdraw(offer: PskOffer): void {
    if (offer.offered !== undefined) wipeKeys(offer.offered);
    offer.offered = undefined;
  }

  return {
    /** The handshake has failed, or its connection has ended: wipes what it was offered. */
    withdraw,
    /**
     * The key for an identity that the handshake names, as Node's `pskCallback` wants it. Null for an identity that is not a
     * serial: in TLS 1.3 it may be a session ticket, which is not taken beside a key.
     */
    keyFor(offer: PskOffer, identity: string): Buffer | null {
      withdraw(offer);
      if (!isSerial(identity)) offer.namedNoSerial = true;
      if (!isSerial(identity) || offer.named >= maxNamed) return null;
      offer.named++;
      offer.serial = identity;
      const found = roster.keysOf(identity);
      // computed in either case: the time must not tell which serials have a key
      const decoy = createHmac('sha256', decoySecret).update(identity).digest();
      const keys = found?.keys ?? { psk: decoy, replySeed: decoy };
      offer.offered = found && { serial: identity, tokenHash: found.tokenHash, keys };
      // a copy, because Node wipes the key that it gets
      return Buffer.from(keys.psk);
    },
    /**
     * The device that a finished handshake has authenticated, at the context whose keys `keyFor` gives; undefined when it went by
     * certificate. The offer ends.
     */
    identify(offer: PskOffer, socket: TLSSocket): PskIdentity | undefined {
      const { offered } = offer;
      if (offered === undefined || !usedPsk(socket)) {
        withdraw(offer);
        return undefined;
      }
      offer.offered = undefined;
      return offered;
    },
  };
}

/** Overwrites the keys of a device where they are no longer needed. */
function wipeKeys({ keys }: PskIdentity): void {
  keys.psk.fill(0);
  keys.replySeed.fill(0);
}

/**
 * A handshake may ask for a key and not use it: a TLS 1.3 client that names a victim and offers only suites that do not fit
 * the key goes on by certificate, and finishes. In TLS 1.2 the suite tells. In TLS 1.3 Node.js says only that a session was
 * resumed, which is so for a key and for a ticket. So a context that has keys takes no tickets (`cipher-suites.ts`): there a
 * handshake counts as resumed only when it used a key. Tickets are taken by another context, that has no keys, and where
 * nothing calls this.
 */
function usedPsk(socket: TLSSocket): boolean {
  return socket.getProtocol() === 'TLSv1.3' ? socket.isSessionReused() : /(^|-)PSK-/.test(socket.getCipher().name);
}

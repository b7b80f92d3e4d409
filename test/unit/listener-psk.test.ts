import type { TLSSocket } from 'node:tls';
import { describe, expect, it } from 'vitest';
import { createPskAuthenticator, type PskOffer } from '../../broker/listener/psk.ts';
import type { Roster } from '../../broker/roster.ts';

const psk = Buffer.alloc(32, 7);
const known = { tokenHash: 'sha256:aa', keys: { psk, replySeed: Buffer.alloc(32, 8) } };
const roster: Pick<Roster, 'keysOf'> = { keysOf: (serial) => (serial === 'SN-1' ? known : undefined) };

const newOffer = (): PskOffer => ({ named: 0, offered: undefined });

/** A finished handshake, as far as the authenticator looks at it. */
const socket = (protocol: string, { reused = false, suite = '' } = {}) =>
  ({
    getProtocol: () => protocol,
    isSessionReused: () => reused,
    getCipher: () => ({ name: suite }),
  }) as unknown as TLSSocket;
const usedKey = socket('TLSv1.3', { reused: true, suite: 'TLS_AES_128_GCM_SHA256' });

describe('authentication by pre-shared key', () => {
  it('gives a serial a copy of its key, and tells once whose handshake it was', () => {
    const authenticator = createPskAuthenticator(roster);
    const offer = newOffer();
    const key = authenticator.keyFor(offer, 'SN-1');
    expect(key).toEqual(psk);
    key?.fill(0);
    expect(psk[0]).toBe(7);
    expect(authenticator.identify(offer, usedKey)).toEqual({ serial: 'SN-1', ...known });
    expect(authenticator.identify(offer, usedKey)).toBeUndefined();
  });

  it('wipes the keys that a handshake did not use: it failed, went by certificate, or named another serial', () => {
    const opened: { psk: Buffer; replySeed: Buffer }[] = [];
    const authenticator = createPskAuthenticator({
      keysOf() {
        const keys = { psk: Buffer.alloc(32, 7), replySeed: Buffer.alloc(32, 8) };
        opened.push(keys);
        return { tokenHash: 'sha256:aa', keys };
      },
    });
    const [failed, byCertificate, renamed] = [newOffer(), newOffer(), newOffer()];
    authenticator.keyFor(failed, 'SN-1');
    authenticator.withdraw(failed);
    authenticator.keyFor(byCertificate, 'SN-1');
    const certificateSocket = socket('TLSv1.2', { suite: 'ECDHE-RSA' });
    expect(authenticator.identify(byCertificate, certificateSocket)).toBeUndefined();
    authenticator.keyFor(renamed, 'SN-1');
    authenticator.keyFor(renamed, 'SN-2');
    expect(authenticator.identify(renamed, usedKey)?.keys.psk[0]).toBe(7);
    const wiped = opened.map((keys) => [...keys.psk, ...keys.replySeed].every((byte) => byte === 0));
    expect(wiped).toEqual([true, true, true, false]);
  });

  it('opens the keys of at most two serials for one handshake, however many it names', () => {
    const opened: string[] = [];
    const authenticator = createPskAuthenticator({
      keysOf(serial) {
        opened.push(serial);
        return undefined;
      },
    });
    const flood = newOffer();
    const keys = Array.from({ length: 9000 }, (_, index) => authenticator.keyFor(flood, `SN-${index}`));
    expect(opened).toEqual(['SN-0', 'SN-1']);
    expect(keys.filter((key) => key !== null)).toHaveLength(2);
    // a HelloRetryRequest asks again, and another handshake begins anew
    const retried = newOffer();
    const twice = createPskAuthenticator(roster);
    twice.keyFor(retried, 'SN-1');
    expect(twice.keyFor(retried, 'SN-1')).toEqual(psk);
    expect(twice.identify(retried, usedKey)?.serial).toBe('SN-1');
    expect(twice.keyFor(newOffer(), 'SN-1')).toEqual(psk);
  });

  it.each(['ECDHE-PSK-CHACHA20-POLY1305', 'PSK-AES128-CCM8', 'DHE-PSK-AES128-GCM-SHA256'])(
    'knows a TLS 1.2 handshake by key from its suite: %s',
    (suite) => {
      const authenticator = createPskAuthenticator(roster);
      const offer = newOffer();
      authenticator.keyFor(offer, 'SN-1');
      expect(authenticator.identify(offer, socket('TLSv1.2', { suite }))?.serial).toBe('SN-1');
    },
  );

  it.each([
    ['TLS 1.3 by certificate', socket('TLSv1.3', { suite: 'TLS_AES_256_GCM_SHA384' })],
    ['TLS 1.2 by certificate', socket('TLSv1.2', { suite: 'ECDHE-ECDSA-AES128-GCM-SHA256' })],
    ['TLS 1.2 that counts as resumed', socket('TLSv1.2', { reused: true, suite: 'ECDHE-RSA-AES128-GCM-SHA256' })],
    ['TLS 1.3 whose suite has a telling name', socket('TLSv1.3', { suite: 'PSK-AES128-CCM8' })],
    ['a suite with another word in it', socket('TLSv1.2', { suite: 'XPSK-AES128' })],
  ])('authenticates no device by a handshake that ended as %s', (_what, device) => {
    const authenticator = createPskAuthenticator(roster);
    const offer = newOffer();
    authenticator.keyFor(offer, 'SN-1');
    expect(authenticator.identify(offer, device)).toBeUndefined();
  });

  it('gives a serial without a key a secret decoy: always the same here, another one elsewhere, and no identity', () => {
    const [authenticator, other] = [createPskAuthenticator(roster), createPskAuthenticator(roster)];
    const offer = newOffer();
    const decoy = authenticator.keyFor(offer, 'SN-2');
    expect(decoy).toHaveLength(32);
    expect(authenticator.keyFor(offer, 'SN-2')).toEqual(decoy);
    expect(authenticator.keyFor(newOffer(), 'SN-3')).not.toEqual(decoy);
    expect(other.keyFor(newOffer(), 'SN-2')).not.toEqual(decoy);
    expect(authenticator.identify(offer, usedKey)).toBeUndefined();
  });

  it.each(['SN-2', 'no serial at all'])(
    'forgets the first identity when the same handshake names %s next',
    (second) => {
      const authenticator = createPskAuthenticator(roster);
      const offer = newOffer();
      authenticator.keyFor(offer, 'SN-1');
      authenticator.keyFor(offer, second);
      expect(authenticator.identify(offer, usedKey)).toBeUndefined();
    },
  );

  it('gives no key for an identity that is not a serial, which may be a session ticket', () => {
    expect(createPskAuthenticator(roster).keyFor(newOffer(), 'a b')).toBeNull();
  });

  it('authenticates no device by a handshake that named none', () => {
    expect(createPskAuthenticator(roster).identify(newOffer(), usedKey)).toBeUndefined();
  });
});

import type { TLSSocket } from 'node:tls';
import { describe, expect, it } from 'vitest';
import { createPskAuthenticator } from '../../broker/listener/psk.ts';
import type { Roster } from '../../broker/roster.ts';

const psk = Buffer.alloc(32, 7);
const known = { tokenHash: 'sha256:aa', keys: { psk, replySeed: Buffer.alloc(32, 8) } };
const roster: Pick<Roster, 'keysOf'> = { keysOf: (serial) => (serial === 'SN-1' ? known : undefined) };

/** A finished handshake, as far as the door looks at it. */
const socket = (protocol: string, { reused = false, suite = '' } = {}) =>
  ({
    getProtocol: () => protocol,
    isSessionReused: () => reused,
    getCipher: () => ({ name: suite }),
  }) as unknown as TLSSocket;
const byKey13 = () => socket('TLSv1.3', { reused: true, suite: 'TLS_AES_128_GCM_SHA256' });

describe('the door for pre-shared keys', () => {
  it('gives a serial its key, as a copy, and says afterwards whose handshake it was, once', () => {
    const door = createPskAuthenticator(roster);
    const device = byKey13();
    const given = door.callback(device, 'SN-1');
    expect(given).toEqual(psk);
    given?.fill(0);
    expect(psk[0]).toBe(7);
    expect(door.provenBy(device)).toEqual({ serial: 'SN-1', ...known });
    expect(door.provenBy(device)).toBeUndefined();
  });

  it('wipes keys that a handshake did not use: it failed, it went by certificate, or another serial was named', () => {
    const opened: { psk: Buffer; replySeed: Buffer }[] = [];
    const door = createPskAuthenticator({
      keysOf() {
        const keys = { psk: Buffer.alloc(32, 7), replySeed: Buffer.alloc(32, 8) };
        opened.push(keys);
        return { tokenHash: 'sha256:aa', keys };
      },
    });
    const [failed, byCertificate, renamed] = [byKey13(), socket('TLSv1.2', { suite: 'ECDHE-RSA' }), byKey13()];
    door.callback(failed, 'SN-1');
    door.forget(failed);
    door.callback(byCertificate, 'SN-1');
    expect(door.provenBy(byCertificate)).toBeUndefined();
    door.callback(renamed, 'SN-1');
    door.callback(renamed, 'SN-2');
    expect(door.provenBy(renamed)?.keys.psk[0]).toBe(7);
    const wiped = opened.map((keys) => [...keys.psk, ...keys.replySeed].every((byte) => byte === 0));
    expect(wiped).toEqual([true, true, true, false]);
  });

  it('opens the keys of two serials at most for one handshake, however many it names', () => {
    const opened: string[] = [];
    const door = createPskAuthenticator({
      keysOf(serial) {
        opened.push(serial);
        return undefined;
      },
    });
    const flood = byKey13();
    const given = Array.from({ length: 9000 }, (_, index) => door.callback(flood, `SN-${index}`));
    expect(opened).toEqual(['SN-0', 'SN-1']);
    expect(given.filter((key) => key !== null)).toHaveLength(2);
    // a HelloRetryRequest asks again, and another handshake begins anew
    const retried = byKey13();
    const twice = createPskAuthenticator(roster);
    twice.callback(retried, 'SN-1');
    expect(twice.callback(retried, 'SN-1')).toEqual(psk);
    expect(twice.provenBy(retried)?.serial).toBe('SN-1');
    expect(twice.callback(byKey13(), 'SN-1')).toEqual(psk);
  });

  it.each(['ECDHE-PSK-CHACHA20-POLY1305', 'PSK-AES128-CCM8', 'DHE-PSK-AES128-GCM-SHA256'])(
    'knows a TLS 1.2 handshake by key from its suite: %s',
    (suite) => {
      const door = createPskAuthenticator(roster);
      const device = socket('TLSv1.2', { suite });
      door.callback(device, 'SN-1');
      expect(door.provenBy(device)?.serial).toBe('SN-1');
    },
  );

  it.each([
    ['TLS 1.3 by certificate', socket('TLSv1.3', { suite: 'TLS_AES_256_GCM_SHA384' })],
    ['TLS 1.2 by certificate', socket('TLSv1.2', { suite: 'ECDHE-ECDSA-AES128-GCM-SHA256' })],
    ['TLS 1.2 that counts as resumed', socket('TLSv1.2', { reused: true, suite: 'ECDHE-RSA-AES128-GCM-SHA256' })],
    ['TLS 1.3 whose suite has a telling name', socket('TLSv1.3', { suite: 'PSK-AES128-CCM8' })],
    ['a suite with another word in it', socket('TLSv1.2', { suite: 'XPSK-AES128' })],
  ])('holds nothing for proven that ended as %s', (_what, device) => {
    const door = createPskAuthenticator(roster);
    door.callback(device, 'SN-1');
    expect(door.provenBy(device)).toBeUndefined();
  });

  it('gives a serial without a key one that nobody knows: always the same here, another elsewhere, and proves nothing', () => {
    const [door, other] = [createPskAuthenticator(roster), createPskAuthenticator(roster)];
    const device = byKey13();
    const given = door.callback(device, 'SN-2');
    expect(given).toHaveLength(32);
    expect(door.callback(device, 'SN-2')).toEqual(given);
    expect(door.callback(device, 'SN-3')).not.toEqual(given);
    expect(other.callback(device, 'SN-2')).not.toEqual(given);
    expect(door.provenBy(device)).toBeUndefined();
  });

  it('forgets the first identity when the same handshake names a second', () => {
    const door = createPskAuthenticator(roster);
    for (const second of ['SN-2', 'no serial at all']) {
      const device = byKey13();
      door.callback(device, 'SN-1');
      door.callback(device, second);
      expect(door.provenBy(device)).toBeUndefined();
    }
  });

  it('gives no key to what is no serial, which may be a ticket', () => {
    expect(createPskAuthenticator(roster).callback(byKey13(), 'a b')).toBeNull();
  });

  it('knows nothing of a handshake that never asked', () => {
    expect(createPskAuthenticator(roster).provenBy(byKey13())).toBeUndefined();
  });
});

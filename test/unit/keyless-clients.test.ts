import { describe, expect, it } from 'vitest';
import { readClientHello } from '../../broker/listener/client-hello.ts';
import { whyKeyUnused } from '../../broker/listener/handshake-failure.ts';
import { createKeylessClients, pskOfferingOf } from '../../broker/listener/keyless-clients.ts';
import { clientHello } from '../support/client-hello.ts';

const [ecdsa, psk, dhePsk] = [0xc02b, 0xa8, 0xaa];

describe('what a ClientHello offers', () => {
  it('is read: suites, whether TLS 1.3 is among the versions, identities, and the protocols of ALPN', () => {
    const offered = { suites: [ecdsa, psk], tls13: false, identities: [], protocols: [] };
    expect(readClientHello(clientHello({ suites: [ecdsa, psk] }))).toEqual(offered);
    const versions = clientHello({ suites: [ecdsa], versions: [0x0304, 0x0303] });
    expect(readClientHello(versions)).toEqual({ ...offered, suites: [ecdsa], tls13: true });
    const named = clientHello({ suites: [ecdsa], versions: [0x0304], identities: ['a ticket', 'SN-1'] });
    expect(readClientHello(named)).toMatchObject({ tls13: true, identities: ['a ticket', 'SN-1'] });
    expect(readClientHello(clientHello({ suites: [ecdsa], versions: [0x0303] }))).toMatchObject({ tls13: false });
    const protocols = ['h2', 'http/1.1'];
    expect(readClientHello(clientHello({ suites: [ecdsa], protocols }))).toEqual({
      ...offered,
      suites: [ecdsa],
      protocols,
    });
  });

  it('is nothing, without an error, of what is cut off or damaged anywhere', () => {
    const hello = clientHello({ suites: [ecdsa, psk], versions: [0x0304], identities: ['SN-1'], protocols: ['h2'] });
    for (let length = 0; length < hello.length; length++) readClientHello(hello.subarray(0, length));
    for (let at = 0; at < hello.length; at++)
      for (const value of [0, 1, 127, 255]) readClientHello(Buffer.from(hello).fill(value, at, at + 1));
    expect(readClientHello(hello.subarray(0, 60))).toBeUndefined();
    expect(readClientHello(Buffer.from('GET / HTTP/1.1'))).toBeUndefined();
  });

  it.each<[string, Parameters<typeof clientHello>[0], boolean]>([
    ['suites of both kinds in TLS 1.2', { suites: [ecdsa, psk] }, true],
    ['suites by key only', { suites: [psk] }, false],
    ['none by key', { suites: [ecdsa] }, false],
    ['one by key that is not on offer here', { suites: [ecdsa, dhePsk] }, false],
    ['TLS 1.3, where the client names its key at once', { suites: [ecdsa, psk], versions: [0x0304] }, false],
  ])('may be a key that the client has not: %s', (_what, hello, expected) => {
    const read = readClientHello(clientHello(hello));
    expect(read !== undefined && pskOfferingOf(read) !== undefined).toBe(expected);
  });
});

describe('clients without a key', () => {
  const start = () => {
    const clock = { now: 1000, chance: 0.5 };
    return {
      clock,
      clients: createKeylessClients(
        () => clock.now,
        () => clock.chance,
      ),
    };
  };

  it('are remembered for five minutes, by address and offer, for one connection', () => {
    const { clock, clients } = start();
    for (const offer of ['a', 'b']) expect(clients.ended('192.0.2.1', offer, 900)).toBe(true);
    expect([clients.take('192.0.2.2', 'a'), clients.take('192.0.2.1', 'c')]).toEqual([false, false]);
    expect([clients.take('192.0.2.1', 'a'), clients.take('192.0.2.1', 'a')]).toEqual([true, false]);
    clock.now += 5 * 60_000;
    expect(clients.take('192.0.2.1', 'b')).toBe(false);
  });

  it('cannot keep a neighbour with a key from it: within an hour after one went by certificate, chance decides', () => {
    const { clock, clients } = start();
    const attempt = () => {
      clients.ended('192.0.2.1', 'a', clock.now);
      return clients.take('192.0.2.1', 'a');
    };
    clock.chance = 0.49;
    expect([attempt(), attempt(), attempt()]).toEqual([true, false, false]);
    // nor by offers that it makes up, so that what is known of the address would be forgotten
    for (let offer = 0; offer < 20; offer++) clients.ended('192.0.2.1', `made up ${offer}`, clock.now);
    expect(attempt()).toBe(false);
    clock.chance = 0.5;
    expect([attempt(), clients.take('192.0.2.1', 'a')]).toEqual([true, false]);
    clock.chance = 0.49;
    // nor one that waits for minutes between its attempts
    for (let minutes = 0; minutes < 50; minutes += 10) {
      clock.now += 600_000;
      expect(attempt()).toBe(false);
    }
    clock.now += 600_000;
    expect(attempt()).toBe(true);
  });

  it('are none that ended late: they have lost their connection', () => {
    const { clients } = start();
    expect(clients.ended('192.0.2.1', 'a', 1000 - 5001)).toBe(false);
    expect(clients.take('192.0.2.1', 'a')).toBe(false);
  });

  it('are forgotten for those of another address only when there are more than a thousand addresses', () => {
    const { clients } = start();
    clients.ended('192.0.2.1', 'a', 1000);
    for (let offer = 0; offer <= 5000; offer++) clients.ended('192.0.2.2', `${offer}`, 1000);
    for (let index = 0; index < 998; index++) clients.ended(`192.0.2.3 ${index}`, 'a', 1000);
    expect(clients.take('192.0.2.1', 'a')).toBe(true);
    clients.ended('192.0.2.1', 'a', 1000);
    for (let index = 998; index < 1998; index++) clients.ended(`192.0.2.3 ${index}`, 'a', 1000);
    expect(clients.take('192.0.2.1', 'a')).toBe(false);
  });

  it('are at most eight kinds of an address: the one that ended longest ago is forgotten', () => {
    const { clients } = start();
    for (const offer of 'abcdefghaib') clients.ended('192.0.2.1', offer, 1000);
    expect([...'abcdefghi'].filter((offer) => clients.take('192.0.2.1', offer)).join('')).toBe('abdefghi');
  });

  it('with a key after all are told to connect again, and those that showed none are told nothing', () => {
    expect(whyKeyUnused({ named: 0, withoutPsk: true })).toMatchObject({ connectAgain: true });
    expect(whyKeyUnused({ named: 0 })).toBeUndefined();
  });
});

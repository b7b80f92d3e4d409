import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { serverNames } from '../../site-tls/server-names.ts';
import { loadTlsMaterial, renewTlsMaterial } from '../../site-tls/site-ca.ts';

const own = ['localhost', '127.0.0.1', '::1'];
const containerId = (index: number) => index.toString(16).padStart(12, 'c');

describe('the names in the server certificate', () => {
  const at = (address: string, internal = false) => [{ address, internal }];

  it('are those of the settings, the host name, and the addresses that the machine has', () => {
    const interfaces = {
      lo: at('127.0.0.1', true),
      eth0: [...at('192.0.2.7'), ...at('fe80::1'), ...at('2001:db8::7')],
    };
    expect(serverNames({ hostnames: ['GW.Example.', 'gw.example'], machineName: 'Box' }, interfaces)).toEqual([
      'gw.example',
      'box',
      ...own,
      '192.0.2.7',
      '2001:db8::7',
    ]);
  });

  it.each([containerId(1), containerId(2).padStart(64, '0'), 'no name', ''])(
    "leave out a container's id, and a host name that is none: %s",
    (machineName) => {
      expect(serverNames({ hostnames: [], machineName }, {})).toEqual(own);
    },
  );

  it('leave out bridges to containers and virtual machines, unless the operator gives one', () => {
    const bridges = ['docker0', 'br-0123456789ab', 'veth12ab', 'virbr0', 'cni0', 'podman0', 'lxdbr0'];
    const interfaces = Object.fromEntries(bridges.map((name, index) => [name, at(`172.17.0.${index}`)]));
    expect(serverNames({ hostnames: [], machineName: 'box' }, interfaces)).toEqual(['box', ...own]);
    expect(serverNames({ hostnames: ['172.17.0.0'], machineName: 'box' }, interfaces)).toContain('172.17.0.0');
    expect(serverNames({ hostnames: [], machineName: 'box' }, { 'br-lan': at('192.168.1.1') })).toContain(
      '192.168.1.1',
    );
  });

  describe('signed by the site CA', () => {
    let dataDir: string;
    beforeEach(() => {
      dataDir = mkdtempSync(join(tmpdir(), 'cvm-names-'));
    });
    afterEach(() => rmSync(dataDir, { recursive: true, force: true }));
    const load = (change: object = {}) =>
      loadTlsMaterial({ dataDir, hostnames: ['gateway.example', '10.1.2.3'], machineName: 'box', ...change });
    const sizeOf = (pem: string) => new X509Certificate(pem).raw.length;

    it('have each IPv4 address as a DNS name as well, which mbedTLS 2 and BearSSL look for, and IPv6 addresses once', async () => {
      const { cert, names } = await load({ hostnames: ['10.1.2.3', 'fd00::7'] });
      const said = new X509Certificate(cert).subjectAltName?.split(', ') ?? [];
      for (const name of ['DNS:10.1.2.3', 'IP Address:10.1.2.3', 'DNS:127.0.0.1', 'IP Address:FD00:0:0:0:0:0:0:7'])
        expect(said).toContain(name);
      expect(said.filter((name) => /^DNS:.*:/.test(name))).toEqual([]);
      expect(names.filter((name) => name === '10.1.2.3')).toHaveLength(1);
    });

    it('are the same after 25 re-creations of a container', async () => {
      const first = await load({ machineName: containerId(0) });
      for (let index = 1; index <= 25; index++) {
        const next = await load({ machineName: containerId(index) });
        expect(next).toMatchObject({ origin: 'kept', fingerprint: first.fingerprint });
      }
    });

    it('do not grow with host names that change: the old one goes', async () => {
      const start = Date.now();
      const sizes = new Set<number>();
      for (let index = 10; index < 35; index++) {
        const { cert, names } = await load({ machineName: `pod-${index}`, now: new Date(start + index * 3_600_000) });
        expect(names.filter((name) => name.startsWith('pod-'))).toEqual([`pod-${index}`]);
        sizes.add(sizeOf(cert));
      }
      // a signature has two bytes more or less
      expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThan(5);
    });

    it('lose one that is configured no more at the next renewal, whatever its cause', async () => {
      const later = (days: number) => new Date(Date.now() + days * 86_400_000);
      const was = await load();
      const left = { hostnames: ['10.1.2.3'] };
      expect(await load(left)).toMatchObject({ origin: 'kept', names: was.names });
      expect((await load({ ...left, now: later(800) })).names).not.toContain('gateway.example');
      await load({ now: later(800) });
      const renewed = await renewTlsMaterial({ dataDir, machineName: 'box', ...left });
      expect(renewed.names).toEqual(was.names.filter((name) => name !== 'gateway.example'));
      expect(renewed.spkiPin).toBe(was.spkiPin);
    });

    it('are one certificate for brokers that share the folder, after a change of one of them as well', async () => {
      await load({ machineName: 'one' });
      const both = await load({ machineName: 'two' });
      const changed = new Date(Date.now() + 3_600_000);
      await load({ machineName: 'new', now: changed });
      const again = await load({ machineName: 'two', now: changed });
      expect(both.names).toEqual(expect.arrayContaining(['one', 'two']));
      expect(again.names).toEqual(expect.arrayContaining(['new', 'two']));
      expect(again.names).not.toContain('one');
      for (const machineName of ['new', 'two'])
        expect(await load({ machineName, now: changed })).toMatchObject({ fingerprint: again.fingerprint });
    });
  });
});

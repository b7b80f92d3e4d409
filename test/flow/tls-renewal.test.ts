import { X509Certificate } from 'node:crypto';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type PeerCertificate } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Broker, startBroker } from '../../broker/broker.ts';
import { tlsCommand } from '../../cli/tls.ts';
import { cvm } from '../../protocol/cvm/dialect.ts';
import { noAudit } from '../../runtime/audit.ts';
import { createLog } from '../../runtime/log.ts';
import { connectOnce } from '../../runtime/mqtt-connect.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { loadGateway } from '../../site-tls/gateway-key.ts';
import type { TlsMaterial } from '../../site-tls/material.ts';
import { keepTlsFresh } from '../../site-tls/renewal.ts';
import { loadTlsMaterial, refreshTlsMaterial } from '../../site-tls/site-ca.ts';
import { createMetrics } from '../../telemetry/metrics.ts';
import { noLine } from '../support/no-line.ts';
import { goldenSigner } from '../support/time.ts';
import { unguarded } from '../support/unguarded.ts';

const log = createLog('silent');
const day = 86_400_000;

describe('the server certificate', () => {
  let dataDir: string;
  let broker: Broker;
  let tls: TlsMaterial;
  const load = (now?: Date) =>
    loadTlsMaterial({ dataDir, hostnames: [], machineName: 'box', ...(now === undefined ? {} : { now }) });
  beforeEach(async () => {
    dataDir = mkdtempSync(join(tmpdir(), 'cvm-tls-'));
    tls = await load();
    await start();
  });
  afterEach(async () => {
    await broker.close();
    rmSync(dataDir, { recursive: true, force: true });
  });

  async function start(): Promise<void> {
    broker = await startBroker({
      port: 0,
      listen: '127.0.0.1',
      tls,
      requests: {
        add: async ({ requestId }) => ({ requestId, requestKey: '' }),
        acknowledge: async () => {},
        close: async () => {},
      },
      replies: { listen: async () => {}, fetch: async () => [], close: async () => {} },
      ...unguarded,
      ...noLine,
      time: goldenSigner,
      dialects: [cvm],
      suites: 'modern',
      proxyFrom: [],
      metrics: createMetrics().metrics,
      log,
    });
  }

  /** The certificate as a device sees it that trusts the site CA. `verify: false`: although its clock is behind */
  async function seen({ verify = true } = {}): Promise<PeerCertificate> {
    const to = { port: broker.port, host: '127.0.0.1', servername: 'localhost', ca: tls.caPem ?? '' };
    const socket = connect({ ...to, rejectUnauthorized: verify });
    socket.on('error', () => {});
    await new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
    const certificate = socket.getPeerCertificate();
    socket.destroy();
    return certificate;
  }

  it('is renewed before it expires, for the same key, without dropping a connection', async () => {
    const device = await connectOnce({ host: 'localhost', port: broker.port, ca: tls.caPem ?? '' });
    const before = await seen();
    // 795 days are left of 825
    const later = Date.now() + 770 * day;
    const fresh = keepTlsFresh({
      current: tls,
      load: () => load(new Date(later)),
      use: (next) => broker.useTls(next),
      log,
      everyMs: 50,
    });
    const fingerprint = async () => (await seen({ verify: false })).fingerprint256;
    await expect.poll(fingerprint).not.toBe(before.fingerprint256);
    const after = await seen({ verify: false });
    expect(new Date(after.valid_to).getTime() - later).toBeGreaterThan(790 * day);
    expect(after.pubkey).toEqual(before.pubkey);
    expect(device.connected).toBe(true);
    await fresh.close();
    await device.endAsync(true);
  });

  it('that a clock made that was years ahead is signed again once the clock is right, for the same key', async () => {
    await broker.close();
    rmSync(dataDir, { recursive: true });
    tls = await load(new Date(Date.now() + 5 * 365 * day));
    await start();
    await expect(seen()).rejects.toThrow(/not yet valid/);
    const before = await seen({ verify: false });
    const fresh = keepTlsFresh({
      current: tls,
      load: () => load(),
      use: (next) => broker.useTls(next),
      log,
      everyMs: 50,
    });
    await expect.poll(() => seen().catch(() => undefined)).toMatchObject({ pubkey: before.pubkey });
    await fresh.close();
  });

  it.each([
    ['is told once a day as not valid yet', Date.now(), 1],
    ['is not told as not valid yet while the clock shows 1970', 1000, 0],
  ])('that begins in the future %s', async (_what, time, count) => {
    const lines: string[] = [];
    const early = { ...tls, notBefore: new Date(Date.now() + day), origin: 'own' as const };
    let asked = 0;
    const load = async () => {
      asked++;
      return early;
    };
    const toLines = createLog('error', { write: (line: string) => void lines.push(line) });
    const fresh = keepTlsFresh({ current: early, load, use() {}, log: toLines, now: () => time, everyMs: 5 });
    await expect.poll(() => asked).toBeGreaterThan(3);
    await fresh.close();
    expect(lines.filter((line) => line.includes('not valid yet'))).toHaveLength(count);
  });

  it('is kept when its replacement cannot be loaded, and the log says why', async () => {
    const before = await seen();
    let asked = 0;
    const broken = async () => {
      asked++;
      throw new Error('damaged');
    };
    const fresh = keepTlsFresh({ current: tls, load: broken, use: (next) => broker.useTls(next), log, everyMs: 20 });
    await expect.poll(() => asked).toBeGreaterThan(2);
    await fresh.close();
    expect((await seen()).fingerprint256).toBe(before.fingerprint256);
  });

  it('stays, and with it the site CA that devices trust, when its folder is gone; the log says so and what to do', async () => {
    const before = await seen();
    const lines: string[] = [];
    const toLines = createLog('error', { write: (line: string) => void lines.push(line) });
    rmSync(join(dataDir, 'tls'), { recursive: true });
    const fresh = keepTlsFresh({
      current: tls,
      load: () => refreshTlsMaterial({ dataDir, hostnames: [], machineName: 'box' }),
      use: (next) => broker.useTls(next),
      log: toLines,
      everyMs: 20,
    });
    await expect.poll(() => lines.length).toBeGreaterThan(2);
    await fresh.close();
    expect(lines[0]).toMatch(/site-ca\.crt is gone: .*cvm restore/);
    expect((await seen()).fingerprint256).toBe(before.fingerprint256);
    expect(existsSync(join(dataDir, 'tls'))).toBe(false);
  });

  it('is shown and renewed by cvm tls', async () => {
    const lines: string[] = [];
    const settings = async () => loadSettings({ CVM_DATA_DIR: dataDir });
    const none = {
      known: async () => [],
      approve: async () => 'unknown' as const,
      forget: async () => false,
      findSigningSeed: async () => undefined,
    };
    const command = () =>
      tlsCommand({
        settings,
        table: async () => ({ gateways: none, registry: { list: async function* () {} } }),
        audit: async () => noAudit,
        write: (line) => lines.push(line),
      });
    const { identity } = await loadGateway(dataDir);
    await command().parseAsync(['renew', '--json'], { from: 'user' });
    await command().parseAsync(['show', '--json'], { from: 'user' });
    const [renewed, shown] = lines.map((line) => JSON.parse(line) as Record<string, string>);
    const iso = (text: string) => new Date(text).toISOString();
    const fromFile = (name: string) => new X509Certificate(readFileSync(join(dataDir, 'tls', name)));
    const [server, ca] = [fromFile('server.crt'), fromFile('site-ca.crt')];
    expect(shown).toMatchObject({ notBefore: iso(server.validFrom), notAfter: iso(server.validTo) });
    expect(shown).toMatchObject({ caNotBefore: iso(ca.validFrom), caNotAfter: iso(ca.validTo) });
    expect(shown?.fingerprint).toBe(renewed?.fingerprint);
    expect(shown?.gateway).toBe(identity.id);
    expect(renewed?.fingerprint).not.toBe(tls.fingerprint);
    expect(renewed?.spkiPin).toBe(tls.spkiPin);
  });

  it('is shown with the one beside it, where both key types are served', async () => {
    const both = await loadTlsMaterial({ dataDir, hostnames: [], machineName: 'box', keyType: 'both' });
    const lines: string[] = [];
    const settings = async () => loadSettings({ CVM_DATA_DIR: dataDir, CVM_TLS_KEY_TYPE: 'both' });
    const table = () => {
      throw new Error('not used');
    };
    for (const args of [['show'], ['show', '--json']])
      await tlsCommand({ settings, table, audit: async () => noAudit, write: (line) => lines.push(line) }).parseAsync(
        args,
        {
          from: 'user',
        },
      );
    expect(lines).toContain(`${'caFile'.padEnd(26)}${both.caFile}`);
    expect(lines).toContain(`${'beside.caFile'.padEnd(26)}${both.beside?.caFile}`);
    expect(lines).toContain(`${'beside.keyType'.padEnd(26)}rsa`);
    expect(JSON.parse(lines.at(-1) ?? '')).toMatchObject({
      fingerprint: both.fingerprint,
      beside: { keyType: 'rsa', fingerprint: both.beside?.fingerprint },
    });
  });
});

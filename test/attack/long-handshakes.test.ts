import { connect as connectTls } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { signClaim } from '../../site-tls/certificates.ts';
import { tlsFilesIn } from '../../site-tls/material.ts';
import { costlyChain } from '../support/costly-chain.ts';
import { keyed, startTlsListener, type TlsListener } from '../support/tls-listener.ts';

type Shown = { readonly key: string; readonly cert: string };

// each certificate of this chain costs 6 ms of CPU to check; OpenSSL takes 100 KB of them
describe.each(['TLSv1.2', 'TLSv1.3'] as const)('a client that is asked for a claim certificate, by %s', (version) => {
  let listener: TlsListener;
  let chain: Shown;
  beforeAll(async () => {
    listener = await startTlsListener({ claims: true });
    chain = await costlyChain(20);
  });
  afterAll(() => listener?.close());
  afterEach(() => {
    for (const noted of [listener.failed, listener.accepted]) noted.splice(0);
  });

  function show(shown: Partial<Shown>, more: object = {}): void {
    const how = { port: listener.port, host: '127.0.0.1', rejectUnauthorized: false, maxVersion: version };
    const socket = connectTls({ ...how, ...shown, ...more }, () => void setTimeout(() => socket.destroy(), 200));
    socket.on('error', () => {});
  }
  const outcome = () => ({ accepted: listener.accepted.length, failed: listener.failed.map(({ reason }) => reason) });

  it('and shows a long chain of certificates is cut before any of them is checked, with cause and cure in the log', async () => {
    show(chain);
    const reason = expect.stringMatching(/^it sent more bytes .* was not looked at: .*claim certificate without/);
    await expect.poll(outcome).toEqual({ accepted: 0, failed: [reason] });
  });

  it('gets through with one, with none, with a pre-shared key, and with a short chain of another CA', async () => {
    const endsAt = Date.now() + 86_400_000;
    const claim = await signClaim(tlsFilesIn(listener.dataDir), { group: 'pumps', endsAt }, new Date());
    const short = {
      ...chain,
      cert: chain.cert
        .split(/(?=-----BEGIN)/)
        .slice(0, 3)
        .join(''),
    };
    for (const shown of [claim, {}, short]) show(shown);
    await expect.poll(outcome).toEqual({ accepted: 3, failed: [] });
    if (version === 'TLSv1.3') return;
    show(chain, {
      ciphers: 'PSK-AES128-GCM-SHA256',
      checkServerIdentity: () => undefined,
      pskCallback: () => ({ identity: keyed.serial, psk: keyed.psk }),
    });
    await expect.poll(() => listener.accepted).toContain(keyed.serial);
  });
});

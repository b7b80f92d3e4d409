import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defaultLimits, type Limits } from '../../broker/limits.ts';
import type { TlsSuites } from '../../broker/listener/cipher-suites.ts';
import { connectionOf } from '../../broker/listener/connection.ts';
import { createDeviceListener } from '../../broker/listener/listener.ts';
import { addressList } from '../../runtime/addresses.ts';
import { createLog } from '../../runtime/log.ts';
import type { ServedKeyTypes } from '../../site-tls/key-type.ts';
import { loadTlsMaterial } from '../../site-tls/site-ca.ts';
import { createMetrics } from '../../telemetry/metrics.ts';

/** The only device that has a key here. */
export const keyed = { serial: 'SN-1', psk: Buffer.alloc(32, 7) };

/** The device listener alone: TLS without an MQTT broker behind it. Connections from 127.0.9.9 are a balancer's. */
export async function startTlsListener({
  suites = 'modern',
  keyType = 'ec',
  limits = {},
  now = Date.now,
  beside,
  claims = false,
}: {
  suites?: TlsSuites;
  keyType?: ServedKeyTypes;
  limits?: Partial<Limits>;
  now?: () => number;
  /** one more listener of the same gateway */
  beside?: { readonly dataDir: string };
  /** asks clients for a certificate of its site CA */
  claims?: boolean;
} = {}) {
  const dataDir = beside?.dataDir ?? mkdtempSync(join(tmpdir(), 'cvm-tls-listener-'));
  const hostnames = ['gateway.example', '10.1.2.3'];
  const material = await loadTlsMaterial({ dataDir, hostnames, machineName: 'box', keyType });
  const tls = claims ? { ...material, claimCas: [material.caPem ?? ''] } : material;
  /** the serials of finished handshakes; undefined for one by certificate */
  const accepted: (string | undefined)[] = [];
  const turnedAway: { remoteAddress: string; reason: string }[] = [];
  const failed: { serial?: string | undefined; remoteAddress: string; fault: string; reason: string }[] = [];
  const listener = createDeviceListener({
    tls,
    suites,
    limits: { ...defaultLimits, ...limits },
    balancers: addressList(['127.0.9.9']),
    roster: {
      keysOf: (serial) =>
        serial === keyed.serial
          ? { tokenHash: 'sha256:aa', keys: { psk: Buffer.from(keyed.psk), replySeed: Buffer.alloc(32, 8) } }
          : undefined,
    },
    metrics: createMetrics().metrics,
    log: createLog('silent'),
    now,
    onConnection(stream) {
      accepted.push(connectionOf(stream).psk?.serial);
      stream.on('error', () => {}).resume();
    },
    onTurnedAway: ({ remoteAddress }, reason) => void turnedAway.push({ remoteAddress, reason }),
    onHandshakeFailed: ({ serial, remoteAddress }, { fault, reason }) =>
      void failed.push({ serial, remoteAddress, fault, reason }),
  });
  return {
    dataDir,
    port: await listener.listen(0, '127.0.0.1'),
    tls,
    useTls: listener.useTls,
    accepted,
    turnedAway,
    failed,
    async close() {
      await listener.close().cut();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

export type TlsListener = Awaited<ReturnType<typeof startTlsListener>>;

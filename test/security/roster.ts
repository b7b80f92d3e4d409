import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openRoster } from '../../broker/roster.ts';
import { derivePsk } from '../../protocol/psk.ts';
import { hashToken, makeToken } from '../../protocol/token.ts';
import { redisAt } from '../../queue/redis.ts';
import { createRosterFeed, createRosterStore } from '../../queue/redis-roster.ts';
import { startEmbeddedRedis } from '../../runtime/embedded-redis.ts';
import { createLog } from '../../runtime/log.ts';
import { sealDeviceKeys } from '../../sealing/device-keys.ts';
import type { Figure } from '../chaos/figures.ts';
import { newGateway, tableKey, trustOf } from '../support/trust.ts';
import { percentile } from './welch.ts';

const mib = 2 ** 20;

/** The cost of a large roster for a broker: start, memory, one look-up. */
export async function roster({ devices }: { devices: number }, say: (line: string) => void): Promise<Figure[]> {
  const log = createLog('silent');
  const dataDir = mkdtempSync(join(tmpdir(), 'cvm-roster-'));
  const redis = await startEmbeddedRedis({ dataDir, log });
  const table = tableKey();
  const store = createRosterStore(redisAt(redis.url), log, async () => table);
  const feed = createRosterFeed(redisAt(redis.url), log);
  try {
    const gateway = newGateway();
    const gateways = [gateway.identity];
    const last = { serial: '', token: '' };
    await feed.read(['warm-up']);
    for (let start = 0; start < devices; start += 1000) {
      const entries = Array.from({ length: Math.min(1000, devices - start) }, (_, index) => {
        const [serial, token] = [`SN-2026-${String(start + index).padStart(8, '0')}`, makeToken()];
        Object.assign(last, { serial, token });
        return { serial, tokenHash: hashToken(token), sealedKeys: sealDeviceKeys(serial, token, gateways) };
      });
      await store.write(entries, []);
    }
    say(`${devices} devices are enrolled`);
    const before = used();
    const started = performance.now();
    const opened = await openRoster(feed, gateway, trustOf(table), log);
    const seconds = (performance.now() - started) / 1000;
    const memory = used() - before;
    const right = opened.keysOf(last.serial)?.keys.psk.equals(derivePsk(last.serial, last.token)) ?? false;
    const lookups = Array.from({ length: 5000 }, (_, index) => {
      const at = performance.now();
      opened.keysOf(`SN-2026-${String((index * 7919) % devices).padStart(8, '0')}`);
      return performance.now() - at;
    });
    return [
      {
        name: `start with ${devices} pre-shared keys`,
        value: `${seconds.toFixed(2)} s`,
        goal: '< 5 s',
        holds: seconds < 5 && right,
      },
      {
        name: `memory of ${devices} pre-shared keys`,
        value: `${(memory / mib).toFixed(1)} MiB, ${(memory / devices).toFixed(0)} bytes each`,
        goal: '< 64 MiB',
        holds: memory < 64 * mib,
      },
      {
        name: 'finding and opening one key',
        value: `${(percentile(lookups, 0.5) * 1000).toFixed(0)} µs, p99 ${(percentile(lookups, 0.99) * 1000).toFixed(0)} µs`,
        goal: 'p50 < 1 ms',
        holds: percentile(lookups, 0.5) < 1,
      },
    ];
  } finally {
    await Promise.all([store.close(), feed.close()]);
    await redis.close();
    rmSync(dataDir, { recursive: true, force: true });
  }
}

/** Bytes in use after a collection. */
function used(): number {
  globalThis.gc?.();
  globalThis.gc?.();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import type { Outcome } from '../../gateway-sim/outcome.ts';
import { runDevice } from '../../gateway-sim/run-device.ts';
import type { Figure } from './figures.ts';
import { startSite } from './site.ts';
import { nothing } from './storm.ts';

/** The hour, and every timeout in it, is divided by this. */
const compression = 60;
const outageMs = 3_600_000 / compression;
/** the worker's longest backoff (30 s), and a device's wait for its answer (2 min) */
const [maxBackoffMs, patienceMs] = [30_000 / compression, 120_000 / compression];
/** the smallest AWS quota in the issuance cycle, in calls a second */
const quota = 10;

/** AWS is away for an hour while devices keep asking; then it returns, with its quotas. */
export async function outage({ devices }: { devices: number }, say: (line: string) => void): Promise<Figure[]> {
  const site = await startSite({
    workers: 2,
    quotas: 'default',
    programs: { worker: 'test/chaos/chaos-worker.js' },
    env: { CHAOS_MAX_BACKOFF_MS: String(maxBackoffMs), CVM_WORKER_CONCURRENCY: '16' },
  });
  try {
    const credentials = await site.enrol(Array.from({ length: devices }, (_, index) => `outage-${index + 1}`));
    await site.aws.kill();
    let lastAt = 0;
    const asking = credentials.map(async (credential, index): Promise<Outcome> => {
      await sleep(Math.random() * 5000);
      const outcome = await runDevice(site.gateway, credential, 'ec', {
        timeoutMs: 300_000,
        // every second device waits on its connection; the others reconnect again and again
        patienceMs: index % 2 === 0 ? 300_000 : patienceMs,
        maxPauseMs: 1000,
      });
      lastAt = Date.now();
      return outcome;
    });
    await sleep(outageMs);
    const waiting = await entries(site.redisUrl);
    say(`after the outage ${waiting} requests of ${devices} devices wait in the queue`);
    await site.aws.start();
    const backAt = Date.now();
    const outcomes = await Promise.all(asking);
    const perSecond = devices / ((lastAt - backAt) / 1000);
    const accepted = outcomes.filter(({ kind }) => kind === 'accepted').length;
    const refused = outcomes.filter(({ kind }) => kind === 'rejected').length;
    return [
      nothing('one hour of AWS outage: refused', refused),
      nothing('one hour of AWS outage: lost', devices - accepted),
      {
        name: 'one hour of AWS outage: entries of the queue for each device',
        value: Number((waiting / devices).toFixed(2)),
        unit: 'entries',
        goal: '<= 1',
        holds: waiting <= devices,
      },
      {
        name: 'one hour of AWS outage: drained at',
        value: Number(perSecond.toFixed(1)),
        unit: 'certificates a second',
        goal: `>= ${0.8 * quota}, the quota being ${quota}`,
        holds: perSecond >= 0.8 * quota,
      },
    ];
  } finally {
    await site.close();
  }
}

async function entries(redisUrl: string): Promise<number> {
  const redis = new Redis(redisUrl);
  const keys = await redis.keys('{cvm}:asks:*');
  await redis.quit();
  return keys.filter((key) => /:asks:[0-9a-f]{8}-/.test(key) && !key.endsWith(':lock')).length;
}

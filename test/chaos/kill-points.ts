import { existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Stored } from '../../gateway-sim/device.ts';
import { runDevice } from '../../gateway-sim/run-device.ts';
import { brokerSteps, type CrashPoint, firedFile, moments, serialOf, workerSteps } from './crash-points.ts';
import type { Figure } from './figures.ts';
import { type Site, startSite } from './site.ts';
import { nothing } from './storm.ts';
import { judge } from './verdict.ts';

const patience = { timeoutMs: 240_000, patienceMs: 15_000, maxPauseMs: 2000 };

/** Every step boundary of the worker, for each kind of key. */
export function everyPoint(): CrashPoint[] {
  const points: CrashPoint[] = [];
  for (const moment of moments) {
    for (const step of workerSteps) {
      for (const flow of ['ec', 'csr', 'rsa'] as const)
        points.push({ victim: 'self', at: 'worker', step, moment, flow });
      points.push({ victim: 'redis', at: 'worker', step, moment, flow: 'ec' });
    }
    for (const step of brokerSteps)
      for (const victim of ['self', 'redis'] as const) points.push({ victim, at: 'broker', step, moment, flow: 'ec' });
  }
  return points;
}

/**
 * Real processes that kill themselves, or Redis, exactly before a call, after its effect when its answer is lost, and
 * after its answer: one device for each of these points.
 */
export async function killPoints(points: readonly CrashPoint[], say: (line: string) => void): Promise<Figure[]> {
  const programs = { worker: 'test/chaos/chaos-worker.js', broker: 'test/chaos/chaos-broker.js' };
  const site = await startSite({ workers: 3, programs });
  const supervisor = supervise(site);
  try {
    const stored = new Map<string, Stored>();
    const serials = points.map(serialOf);
    const credentials = await site.enrol(serials);
    await Promise.all(
      credentials.map(async (credential, index) => {
        await sleep(index * 300);
        const flow = points[index]?.flow ?? 'ec';
        await runDevice(site.gateway, credential, flow, {
          ...patience,
          store: (given) => stored.set(given.serial, given),
        });
      }),
    );
    const fired = serials.filter((serial) => existsSync(firedFile(site.folder, serial)));
    const rest = serials.filter((serial) => !fired.includes(serial));
    // an acknowledgement may be processed after its device has left
    await sleep(10_000);
    const swept = await site.sweep(['--grace', '5s', '--rate', '100']);
    say(`sweep: ${swept.stdout.trim() || swept.stderr}`);
    const verdict = await judge(site, serials, stored);
    for (const note of [...rest.map((serial) => `never came to ${serial}`), ...verdict.notes]) say(`  ${note}`);
    const good = fired.length - verdict.lost - verdict.broken;
    return [
      {
        name: 'kill points that ended in exactly one certificate delivered',
        value: good,
        unit: `of ${points.length}`,
        goal: 'all',
        holds: good === points.length,
      },
      nothing('kill points: duplicates', verdict.duplicates),
      nothing('kill points: orphans after one sweep', verdict.orphans),
      nothing('kill points: things too many or too few', verdict.things),
      nothing('kill points: stuck in Redis', verdict.stuck),
    ];
  } finally {
    await supervisor.stop();
    await site.close();
  }
}

/** Restarts every part that has died. */
function supervise(site: Site) {
  let stopped = false;
  const watching = site.parts.map(async (part) => {
    while (!stopped) {
      if (!part.isRunning()) {
        await part.kill();
        if (!stopped) await part.start();
      }
      await sleep(50);
    }
  });
  return {
    async stop(): Promise<void> {
      stopped = true;
      await Promise.allSettled(watching);
    },
  };
}

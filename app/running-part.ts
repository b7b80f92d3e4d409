import { randomUUID } from 'node:crypto';
import { statfsSync } from 'node:fs';
import type { RedisConnector } from '../queue/redis.ts';
import { createRunningParts } from '../queue/redis-running-parts.ts';
import type { RunningPart } from '../queue/running-parts.ts';
import type { MetricsRegistry } from '../runtime/metrics.ts';
import type { Settings } from '../runtime/settings.ts';
import { productVersion } from '../runtime/version.ts';
import { chainsOf, tlsOptions } from '../site-tls/material.ts';
import { readTlsMaterial } from '../site-tls/site-ca.ts';
import type { App } from './app.ts';

/** How often a process says that it runs, in milliseconds; `queue/redis-running-parts.ts` says when it counts as gone. */
const usualEveryMs = 5000;

/** How often it reads its certificates and its disk anew, in milliseconds. */
const readEveryMs = 60_000;

/**
 * Says in Redis, for `cvm status` and the console, that this process runs, from now on until it closes. Where Redis is away, nothing is
 * said: the health files still are.
 * @returns takes the troubles of each health check
 */
export function announcePart(
  { settings, log, lifecycle, metricsRegistry }: App,
  connector: RedisConnector,
  part: RunningPart['part'],
  everyMs = usualEveryMs,
) {
  const parts = createRunningParts(connector, log.child({}, { level: 'silent' }));
  const { site, machineName: host } = settings;
  const head = { id: randomUUID(), part, version: productVersion(), host, pid: process.pid, site, since: Date.now() };
  const rates = createCallRates(metricsRegistry);
  let troubles: readonly string[] = [];
  let read = readings(settings, part);
  let readAt = performance.now();
  let [running, closed]: [Promise<void> | undefined, boolean] = [undefined, false];

  async function say(): Promise<void> {
    if (performance.now() - readAt > readEveryMs) [read, readAt] = [readings(settings, part), performance.now()];
    await parts.say({ ...head, ...read, troubles, calls: await rates() });
  }
  const sayOnce = () => {
    if (closed) return;
    running ??= say()
      .catch((err: unknown) => log.debug({ err }, 'Redis could not be told that this process runs'))
      .finally(() => {
        running = undefined;
      });
  };
  sayOnce();
  const timer = setInterval(sayOnce, everyMs);
  timer.unref();
  lifecycle.add({
    name: 'running part',
    async close() {
      closed = true;
      clearInterval(timer);
      await running;
      await parts.leave(head.id).catch(() => {});
      await parts.close();
    },
  });
  return {
    heard(next: readonly string[]): void {
      const isNews = next.join('\n') !== troubles.join('\n');
      troubles = next;
      if (isNews) sayOnce();
    },
  };
}

function readings(settings: Settings, part: RunningPart['part']): Pick<RunningPart, 'certificates' | 'disk'> {
  return {
    certificates: part === 'broker' ? certificatesOf(settings) : [],
    disk: diskAt(settings.dataDir),
  };
}

/** When they end. None while there are none yet, or they cannot be read, which the start of the broker says. */
export function certificatesOf(settings: Settings): RunningPart['certificates'] {
  try {
    return chainsOf(readTlsMaterial(tlsOptions(settings))).flatMap(({ notAfter, caNotAfter }) => [
      { name: 'server' as const, notAfter: notAfter.getTime() },
      ...(caNotAfter === undefined ? [] : [{ name: 'site CA' as const, notAfter: caNotAfter.getTime() }]),
    ]);
  } catch {
    return [];
  }
}

/** @returns undefined where there is no such folder */
export function diskAt(path: string): RunningPart['disk'] {
  try {
    const { bavail, blocks, bsize } = statfsSync(path);
    return { path, freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  } catch {
    return undefined;
  }
}

/** Calls of AWS IoT Core in a second, by operation, since it was called last. */
function createCallRates(registry: MetricsRegistry, now: () => number = () => performance.now()) {
  let [before, at] = [new Map<string, number>(), now()];
  return async (): Promise<Record<string, number>> => {
    const counted = await callsIn(registry);
    const seconds = Math.max(0.001, (now() - at) / 1000);
    const made = [...counted].map(([name, count]) => [name, (count - (before.get(name) ?? 0)) / seconds] as const);
    [before, at] = [counted, now()];
    return Object.fromEntries(made.filter(([, rate]) => rate > 0).map(([name, rate]) => [name, round(rate)]));
  };
}

const round = (rate: number) => Math.round(rate * 100) / 100;

async function callsIn(registry: MetricsRegistry): Promise<Map<string, number>> {
  const metric = registry.getSingleMetric('cvm_aws_call_seconds');
  const { values = [] } = (await metric?.get()) ?? {};
  const counted = new Map<string, number>();
  for (const { metricName, labels, value } of values as readonly Counted[]) {
    const { operation = '' } = labels;
    if (!metricName?.endsWith('_count') || !operation.startsWith('iot:')) continue;
    const name = operation.slice('iot:'.length);
    counted.set(name, (counted.get(name) ?? 0) + value);
  }
  return counted;
}

type Counted = {
  readonly metricName?: string;
  readonly labels: { readonly operation?: string };
  readonly value: number;
};

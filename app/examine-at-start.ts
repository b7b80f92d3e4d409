import type { Part } from '../operator/doctor/sources.ts';
import type { RedisConnector } from '../queue/redis.ts';
import type { App } from './app.ts';

/** Milliseconds: until a part that starts has done what it must, and for all checks together. */
const [afterMs, allMs] = [3000, 10_000];

/**
 * Says in the log what is wrong on this machine and with this Redis, each with its cure, a moment after the start, which does not wait for
 * it. What the start says by itself is left out. Once in a process, for all parts that run in it.
 */
export function examineAtStart(app: App, redis: RedisConnector, parts: readonly Part[]): void {
  const { log, lifecycle } = app;
  const examine = async () => {
    // a start has more urgent things to load
    const { openDoctor } = await import('./doctor.ts');
    const { checks } = await import('../operator/doctor/checks.ts');
    const { runChecks } = await import('../operator/doctor/run.ts');
    const some = checks.filter((check) => check.atStart && check.parts.some((part) => parts.includes(part)));
    const findings = await runChecks(some, openDoctor(app, redis, parts), { fix: false, ms: allMs });
    for (const { id: check, title, outcome, seen, cause, cure } of findings)
      if (outcome === 'fail' || outcome === 'warn')
        log[outcome === 'fail' ? 'error' : 'warn']({ check, cause, cure }, `${title}: ${seen}`);
    log.debug({ checks: some.length }, 'looked at this machine; "cvm doctor" looks at more');
  };
  const timer = setTimeout(() => {
    examine().catch((err: unknown) => log.debug({ err }, 'this machine could not be looked at'));
  }, afterMs);
  timer.unref();
  lifecycle.add({
    name: 'examination',
    async close() {
      clearTimeout(timer);
    },
  });
}

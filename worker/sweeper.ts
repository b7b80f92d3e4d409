import { randomUUID } from 'node:crypto';
import type { SweepLease } from '../registry/sweep-lease.ts';
import type { Log } from '../runtime/log.ts';
import type { Audit } from '../telemetry/audit-events.ts';
import type { Finding, SweepSummary } from './sweep-findings.ts';

/** Longer than a slow call, and short enough that another worker soon follows a dead sweeper. Milliseconds. */
const leaseMs = 120_000;

export type SweepOnce = (report: (finding: Finding) => void, stopped: () => boolean) => Promise<SweepSummary>;

/**
 * Sweeps under the lease. @returns undefined when another process holds the lease, or when the last sweep began less than
 * `everyMs` ago.
 */
export async function sweepAlone(
  lease: SweepLease,
  once: (stopped: () => boolean) => Promise<SweepSummary>,
  { now, everyMs = 0, stopped = () => false }: { now(): number; everyMs?: number; stopped?: () => boolean },
): Promise<SweepSummary | undefined> {
  const holder = randomUUID();
  if (!(await lease.take(holder, now(), leaseMs, everyMs))) return undefined;
  let lost = false;
  const extend = setInterval(() => {
    lease
      .take(holder, now(), leaseMs)
      .then((held) => {
        lost ||= !held;
      })
      .catch(() => {});
  }, leaseMs / 4);
  try {
    return await once(() => lost || stopped());
  } finally {
    clearInterval(extend);
    await lease.release(holder).catch(() => {});
  }
}

/** Sweeps every `intervalMs` until closed. One worker at a time runs the sweep. */
export function startSweeper(options: {
  lease: SweepLease;
  once: SweepOnce;
  intervalMs: number;
  log: Log;
  audit: Audit;
  now(): number;
  random?: () => number;
}) {
  const { lease, once, intervalMs, log, audit, now, random = Math.random } = options;
  let closed = false;
  let timer: NodeJS.Timeout | undefined;
  let running: Promise<void> = Promise.resolve();

  async function run(): Promise<void> {
    try {
      const summary = await sweepAlone(lease, (stopped) => once((finding) => say(finding, log, audit), stopped), {
        now,
        everyMs: intervalMs,
        stopped: () => closed,
      });
      if (summary?.complete === true) {
        log.info(summary, 'sweep done');
        audit.record('swept', summary);
      } else if (summary !== undefined)
        log.info(summary, 'the sweep was stopped before its end; the next one begins anew');
    } catch (err) {
      log.warn({ err }, 'the sweep failed; the next one begins anew');
    }
    // not earlier, or the lease would refuse it and the next one would be an interval late
    plan(intervalMs * (1 + random() / 10));
  }

  function plan(ms: number): void {
    if (closed) return;
    timer = setTimeout(() => {
      running = run();
    }, ms);
  }

  // a random delay, so that workers that start together do not sweep together
  plan(Math.min(intervalMs, 60_000) * (0.5 + random()));
  return {
    name: 'sweeper',
    async close() {
      closed = true;
      clearTimeout(timer);
      await running;
    },
  };
}

/** Records what a sweep changed. Mere reports go to the log, at each sweep. */
export function recordFinding(audit: Audit, finding: Finding): void {
  const { action, cure: _forThePerson, ...rest } = finding;
  if (action !== 'reported' && action !== 'left') audit.record('swept-up', { action, ...rest });
}

/** Logs a finding. Unknown certificates are logged quietly: an account may hold many of other users. */
function say(finding: Finding, log: Log, audit: Audit): void {
  recordFinding(audit, finding);
  if (finding.kind === 'certificate-unknown') log.debug(finding, 'sweep finding');
  else if (finding.action === 'reported') log.warn(finding, 'sweep finding: it needs a person');
  else log.info(finding, 'sweep finding');
}

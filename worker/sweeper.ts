import { randomUUID } from 'node:crypto';
import type { SweepLease } from '../registry/sweep-lease.ts';
import type { Log } from '../runtime/log.ts';
import type { Audit } from '../telemetry/audit-events.ts';
import type { Finding, SweepSummary } from './sweep.ts';

/** Long enough for a slow call, short enough that a sweeper that died is soon followed by another. Milliseconds. */
const leaseMs = 120_000;

export type SweepOnce = (report: (finding: Finding) => void, stopped: () => boolean) => Promise<SweepSummary>;

/**
 * Sweeps, provided that nobody else does: undefined when somebody else is at it, or when the last sweep began less than
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

/** Sweeps every `intervalMs`, as one of however many workers, until closed. */
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
      if (summary === undefined) return plan(intervalMs);
      log.info(summary, 'swept');
      audit.record('swept', summary);
    } catch (err) {
      log.warn({ err }, 'the sweep was not finished; the next one goes on');
    }
    plan(intervalMs);
  }

  /** Workers that were started together do not ask together. */
  function plan(ms: number): void {
    if (closed) return;
    timer = setTimeout(
      () => {
        running = run();
      },
      ms * (0.5 + random()),
    );
  }

  plan(Math.min(intervalMs, 60_000));
  return {
    name: 'sweeper',
    async close() {
      closed = true;
      clearTimeout(timer);
      await running;
    },
  };
}

/** What a sweep did. What it only reports is in the log, again and again. */
export function recordFinding(audit: Audit, finding: Finding): void {
  const { action, cure: _forThePerson, ...rest } = finding;
  if (action !== 'reported' && action !== 'left') audit.record('swept-up', { action, ...rest });
}

/** What nobody need do anything about is said quietly: an account may hold many certificates of others. */
function say(finding: Finding, log: Log, audit: Audit): void {
  recordFinding(audit, finding);
  if (finding.kind === 'certificate-unknown') log.debug(finding, 'swept');
  else if (finding.action === 'reported') log.warn(finding, 'swept: this is yours to decide');
  else log.info(finding, 'swept');
}

import { Command } from 'commander';
import type { Issuer } from '../issuer/issuer.ts';
import type { ClaimCertificates } from '../registry/claim-certificates.ts';
import type { SiteIndex } from '../registry/site-index.ts';
import type { SweepLease } from '../registry/sweep-lease.ts';
import { counted } from '../runtime/counted.ts';
import type { Settings } from '../runtime/settings.ts';
import type { Audit } from '../telemetry/audit-events.ts';
import { ownerTagOf } from '../worker/ec-key.ts';
import { sweep } from '../worker/sweep.ts';
import type { Finding, SweepOptions, SweepSummary } from '../worker/sweep-findings.ts';
import { recordFinding, sweepAlone } from '../worker/sweeper.ts';
import { complain } from './complaint.ts';
import { durationMs } from './duration.ts';
import { positiveNumber } from './numbers.ts';

/** By default the share that the workers' sweep has of AWS's default quotas. */
const sweepCallsPerSecond = 2;

export type SweepContext = {
  settings(): Promise<Settings>;
  table(): Promise<{
    registry: SweepOptions['registry'];
    lease: SweepLease;
    sites: SiteIndex;
    claims: ClaimCertificates;
  }>;
  issuer(callsPerSecond: number): Promise<Issuer>;
  audit(): Promise<Audit>;
  write(line: string): void;
  clock(): Promise<() => number>;
};

type Options = { dryRun?: boolean; json?: boolean; grace?: number; rate: number };

export function sweepCommand(context: SweepContext): Command {
  return new Command('sweep')
    .option('--dry-run', 'print the repairs, and make none')
    .option('--grace <duration>', 'leave alone anything younger: 90s, 15m (default: CVM_SWEEP_GRACE)', durationMs)
    .option('--rate <n>', 'calls of each AWS operation in a second', positiveNumber, sweepCallsPerSecond)
    .option('--json', 'print the outcome as JSON')
    .action((options: Options) => runSweep(context, options));
}

async function runSweep(context: SweepContext, options: Options): Promise<void> {
  const { registry, lease, sites, claims } = await context.table();
  const { table, sweep: set, replayWindowMs } = await context.settings();
  const dryRun = options.dryRun ?? false;
  const now = await context.clock();
  const audit = dryRun ? undefined : await context.audit();
  const findings: Finding[] = [];
  const summary = await sweepAlone(
    lease,
    async (stopped) =>
      sweep({
        registry,
        sites,
        claims,
        issuer: await context.issuer(options.rate),
        ownerTag: ownerTagOf(table),
        table,
        graceMs: options.grace ?? set.graceMs,
        replayWindowMs,
        dryRun,
        now,
        report(finding) {
          findings.push(finding);
          if (audit !== undefined) recordFinding(audit, finding);
          // at once: what was repaired must be known when the rest fails
          if (!options.json) context.write(findingLine(finding, dryRun));
        },
        stopped,
      }),
    { now },
  );
  if (summary === undefined) {
    return complain(
      { cause: 'another sweep is running; nothing was done', cure: 'run the command again when that one is over' },
      options.json,
    );
  }
  if (summary.complete) audit?.record('swept', summary);
  context.write(options.json ? JSON.stringify({ ...summary, found: findings }) : summaryLine(summary));
  if (!summary.complete)
    complain(
      { cause: 'the sweep ended early, since another process took the lease', cure: 'run it again' },
      options.json,
    );
  if (findings.some(({ kind }) => kind === 'repair-failed')) process.exitCode = 1;
}

function findingLine({ kind, serial, certificateId, action, cure }: Finding, dryRun: boolean): string {
  const done = action === 'reported' || action === 'left' || !dryRun ? action : `would be ${action}`;
  return [
    kind.padEnd(22),
    serial ?? '-',
    certificateId ?? '-',
    done,
    ...(cure === undefined ? [] : [`→ ${cure}`]),
  ].join('  ');
}

function summaryLine({ devices, certificates, findings, ms }: SweepSummary): string {
  const found = Object.values(findings).reduce((sum, count) => sum + count, 0);
  return `${counted(devices, 'device')} and ${counted(certificates, 'certificate')} compared in ${(ms / 1000).toFixed(1)} s: ${found === 0 ? 'nothing to do' : counted(found, 'finding')}`;
}

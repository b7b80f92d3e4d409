import { openAudit } from '../runtime/audit.ts';
import { createLifecycle, type Lifecycle } from '../runtime/lifecycle.ts';
import type { Log } from '../runtime/log.ts';
import type { MetricsRegistry } from '../runtime/metrics.ts';
import type { Settings } from '../runtime/settings.ts';
import type { Audit } from '../telemetry/audit-events.ts';
import { createMetrics, type Metrics } from '../telemetry/metrics.ts';

/** What every part of one process is built with. The lifecycle closes what was started, last first. */
export type App = {
  readonly settings: Settings;
  readonly log: Log;
  readonly lifecycle: Lifecycle;
  readonly metrics: Metrics;
  /** reads what was reported to `metrics` */
  readonly metricsRegistry: MetricsRegistry;
};

export function createApp(settings: Settings, log: Log): App {
  return { settings, log, lifecycle: createLifecycle(log), ...createMetrics() };
}

/** @param part names the writer in each record */
export function keepAudit({ settings, log, lifecycle }: App, part: string): Audit {
  const audit: Audit = openAudit({ folder: settings.auditDir, part, log });
  lifecycle.add({ name: 'audit', close: () => audit.close() });
  return audit;
}

import { openAudit } from '../runtime/audit.ts';
import { createLifecycle, type Lifecycle } from '../runtime/lifecycle.ts';
import type { Log } from '../runtime/log.ts';
import type { Settings } from '../runtime/settings.ts';
import type { Audit } from '../telemetry/audit-events.ts';

/** What every part of one process is built with. The lifecycle closes what was started, last first. */
export type App = { readonly settings: Settings; readonly log: Log; readonly lifecycle: Lifecycle };

export function createApp(settings: Settings, log: Log): App {
  return { settings, log, lifecycle: createLifecycle(log) };
}

/** @param part names the writer in each record */
export function keepAudit({ settings, log, lifecycle }: App, part: string): Audit {
  const audit: Audit = openAudit({ folder: settings.auditDir, part, log });
  lifecycle.add({ name: 'audit', close: () => audit.close() });
  return audit;
}

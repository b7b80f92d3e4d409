import { type AwsConnections, createAwsConnections } from '../aws/connections.ts';
import { createRoleAliasCredentials, type TemporaryCredentials } from '../aws/role-alias.ts';
import { type AwsTime, createAwsTime } from '../aws/time.ts';
import { type AwsTrouble, createAwsTrouble } from '../aws/trouble.ts';
import { openAudit, prepareAudit } from '../runtime/audit.ts';
import { type ClockSteps, createClockSteps } from '../runtime/clock-steps.ts';
import { createLifecycle, type Lifecycle } from '../runtime/lifecycle.ts';
import type { Log } from '../runtime/log.ts';
import type { MetricsRegistry } from '../runtime/metrics.ts';
import { namesCredentials, type Settings } from '../runtime/settings.ts';
import { SettingsError } from '../runtime/settings-error.ts';
import type { Tracing } from '../runtime/tracing.ts';
import type { Audit } from '../telemetry/audit-events.ts';
import { createMetrics, type Metrics } from '../telemetry/metrics.ts';
import { createMonitoring, type Monitoring } from './monitoring.ts';

/** What every part of one process is built with. The lifecycle closes what was started, last first. */
export type App = {
  readonly settings: Settings;
  readonly log: Log;
  readonly lifecycle: Lifecycle;
  readonly metrics: Metrics;
  /** reads what was reported to `metrics` */
  readonly metricsRegistry: MetricsRegistry;
  /** what the parts say to those who watch */
  readonly monitoring: Monitoring;
  /** absent where traces are off */
  readonly tracing?: Tracing | undefined;
  readonly clockSteps: ClockSteps;
  readonly awsTime: AwsTime;
  readonly awsConnections: AwsConnections;
  readonly awsTrouble: AwsTrouble;
  /** by the role alias of the gateway; undefined: the SDK's own chain finds credentials */
  readonly awsCredentials: (() => Promise<TemporaryCredentials>) | undefined;
};

/** @param reopenLog what SIGHUP does; without it, SIGHUP ends a service */
export function createApp(settings: Settings, log: Log, reopenLog?: () => void): App {
  const lifecycle = createLifecycle(log, undefined, reopenLog);
  const clockSteps = lifecycle.add(createClockSteps({ log }));
  const sayClosed = (connections: number) =>
    log.warn(
      { connections },
      'AWS did not answer in time: closed the idle connections to it, which may be silent, too',
    );
  const aws = {
    awsTime: createAwsTime({ log }),
    awsConnections: createAwsConnections({ proxy: settings.proxy, onSilent: sayClosed }),
    awsTrouble: createAwsTrouble(),
    awsCredentials: roleAliasCredentials(settings, log),
  };
  const { metrics, metricsRegistry } = createMetrics();
  const monitoring = createMonitoring(metrics, metricsRegistry, log);
  return { settings, log, lifecycle, metrics, metricsRegistry, monitoring, clockSteps, ...aws };
}

/** A person who names other credentials for one command means those: the role of a gateway may not enrol devices, say. */
function roleAliasCredentials(settings: Settings, log: Log): App['awsCredentials'] {
  const { roleAlias, gatewayCertificate, rootCaFile, proxy, awsEnvironment } = settings;
  if (roleAlias === undefined || namesCredentials(awsEnvironment)) return undefined;
  const onLate = (err: unknown, until: Date) =>
    log.warn({ err, until }, 'the AWS credentials cannot be renewed; those that are held last until then');
  return createRoleAliasCredentials({ ...roleAlias, ...gatewayCertificate, rootCaFile }, { proxy, onLate });
}

/** The audit trail of a service, which does not start without one. @param part names the writer in each record */
export function keepAudit({ settings, log, lifecycle }: App, part: string): Audit {
  const { auditDir: folder } = settings;
  try {
    prepareAudit(folder);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new SettingsError([`CVM_AUDIT_DIR: the audit trail cannot be kept in ${folder} (${code ?? message})`]);
  }
  const audit: Audit = openAudit({ folder, part, log });
  lifecycle.add({ name: 'audit', close: () => audit.close() });
  return audit;
}

/** The audit trail of a command. A decision stands where it cannot be recorded, and `onLost` says so. */
export function keepOperatorAudit(
  { settings, log, lifecycle }: App,
  onLost: (event: string, fields: object, error: Error) => void,
): Audit {
  const audit: Audit = openAudit({ folder: settings.auditDir, part: 'cvm', log, onLost });
  lifecycle.add({ name: 'audit', close: () => audit.close() });
  return audit;
}

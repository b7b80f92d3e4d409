import { packageVersion } from '../runtime/version.ts';
import type { App } from './app.ts';

/**
 * The app with traces, where CVM_TRACES asks for them; otherwise nothing of OpenTelemetry is loaded.
 * @param service `cvm-broker`, say: its name in traces, where OTEL_SERVICE_NAME gives none
 */
export async function withTracing(app: App, service: string): Promise<App> {
  const { settings, log, lifecycle } = app;
  if (!settings.traces) return app;
  const { startTracing } = await import('../runtime/open-telemetry.ts');
  const tracing = lifecycle.add(startTracing({ service, version: packageVersion().version, log }));
  log.info({ service }, 'traces are made and sent');
  return { ...app, tracing };
}

import { readFileSync } from 'node:fs';
import { metricsContentType } from '../runtime/metrics.ts';
import { startMonitoringServer } from '../runtime/monitoring-server.ts';
import type { MonitoringPort } from '../runtime/settings.ts';
import { SettingsError } from '../runtime/settings-error.ts';
import type { App } from './app.ts';

/**
 * Opens the port of a part for metrics and health. When the default port is taken (by a second gateway on this machine, say), the part logs that
 * and starts without it.
 * @throws SettingsError when a port that the settings name cannot be taken, or the token cannot be read
 */
export async function serveMonitoring(
  app: App,
  { port, isDefault }: MonitoringPort,
  setting: string,
): Promise<number | undefined> {
  const { settings, log, lifecycle, monitoring } = app;
  if (port === 'off') return undefined;
  const { listen, tokenFile } = settings.monitoring;
  const token = tokenFile === undefined ? undefined : readToken(tokenFile);
  const serving = {
    listen,
    port,
    token,
    metrics: monitoring.text,
    metricsType: metricsContentType,
    health: monitoring.health,
  };
  try {
    const server = lifecycle.add(await startMonitoringServer({ ...serving, log }));
    log.info({ listen, port: server.port }, 'metrics and health are served');
    return server.port;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const problem = `cannot listen on ${listen}, port ${port} (${code ?? message})`;
    if (!isDefault || code !== 'EADDRINUSE') throw new SettingsError([`CVM_METRICS_LISTEN, ${setting}: ${problem}`]);
    log.warn(
      { port, cure: `name another port in ${setting}, or "off"` },
      'metrics and health are not served: another program has their port',
    );
    return undefined;
  }
}

const shortestToken = 16;

function readToken(file: string): string {
  let token: string;
  try {
    token = readFileSync(file, 'utf8').trim();
  } catch (error) {
    throw new SettingsError([
      `CVM_METRICS_TOKEN_FILE: ${file} cannot be read (${(error as NodeJS.ErrnoException).code})`,
    ]);
  }
  if (token.length >= shortestToken && /^\S+$/.test(token)) return token;
  throw new SettingsError([
    `CVM_METRICS_TOKEN_FILE: ${file} must hold one token of ${shortestToken} characters or more, without spaces; openssl rand -hex 32 makes one`,
  ]);
}

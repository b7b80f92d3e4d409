import { paceOf } from '../broker/line-estimate.ts';
import { startConsole } from '../console/console.ts';
import type { ConsoleDeps, ServerTls } from '../console/deps.ts';
import { ensurePassword } from '../console/password.ts';
import { readWebFiles } from '../console/web-files.ts';
import { helpEntries } from '../operator/failures.ts';
import type { RedisConnector } from '../queue/redis.ts';
import { createSessionStore } from '../queue/redis-console-sessions.ts';
import { createDirectory } from '../queue/redis-directory.ts';
import { watchRedis } from '../queue/redis-health.ts';
import { createLine } from '../queue/redis-line.ts';
import { createLineOverview } from '../queue/redis-line-overview.ts';
import { createLiveFeed } from '../queue/redis-live.ts';
import { createPace } from '../queue/redis-pace.ts';
import { keepHealthFiles } from '../runtime/health-files.ts';
import { SettingsError } from '../runtime/settings-error.ts';
import { productVersion } from '../runtime/version.ts';
import { chainsOf, type TlsMaterial, tlsOptions } from '../site-tls/material.ts';
import { keepTlsFresh } from '../site-tls/renewal.ts';
import { refreshTlsMaterial } from '../site-tls/site-ca.ts';
import { auditOf } from '../telemetry/audit-events.ts';
import { type App, keepAudit } from './app.ts';
import { loadTls } from './broker.ts';
import { openExplainer } from './explain.ts';
import { withWatchers } from './live.ts';
import { connectOperator } from './operator.ts';
import { announcePart } from './running-part.ts';
import { type Environment, showSettings } from './shown-settings.ts';
import { openStatus } from './status.ts';

export type ConsolePart = {
  readonly port: number;
  /** of operators, where this start has made it: it is shown once */
  readonly password?: string;
};

/** How much of the audit trail one look at a device may cost. */
const auditBytes = 64 * 1024 * 1024;

/** `cvm console`, and the console of `cvm up`. @throws SettingsError when the port is taken */
export async function startConsolePart(
  app: App,
  redis: RedisConnector,
  environment: Environment,
): Promise<ConsolePart> {
  const { settings, log, lifecycle, awsTime } = app;
  const settingsShown = showSettings(environment);
  const tls = await loadTls(app);
  const password = await ensurePassword(settings.dataDir);
  const sessions = createSessionStore(redis, log);
  lifecycle.add({ name: 'console sessions', close: () => sessions.close() });
  const directory = createDirectory(redis, log);
  lifecycle.add({ name: 'directory', close: () => directory.close() });
  const live = createLiveFeed(redis, log, awsTime.now);
  lifecycle.add({ name: 'live feed', close: () => live.close() });
  const audit = withWatchers(app, redis, keepAudit(app, 'console'));
  const operator = connectOperator(app, audit);
  const explainer = openExplainer(app, redis, operator, { auditBytes });
  const status = openStatus(app, redis);
  tellHealth(app, redis);
  const deps: ConsoleDeps = {
    settings,
    tls: forConsole(tls),
    pages: readWebFiles(),
    sessions,
    directory,
    live,
    line: connectLine(app, redis),
    status: status.read,
    explain: explainer.explain,
    settingsShown,
    help: helpEntries(),
    operator: (by) => ({ ...operator, audit: auditOf(audit, by) }),
    audit,
    version: productVersion(),
    log,
    now: awsTime.now,
  };
  const console = await startConsole(deps).catch((error: NodeJS.ErrnoException) => {
    if (!['listen', 'bind', 'getaddrinfo'].includes(error.syscall ?? '')) throw error;
    throw new SettingsError([
      `CVM_LISTEN, CVM_CONSOLE_PORT: cannot listen on ${settings.listen}, port ${settings.console.port} (${error.code})`,
    ]);
  });
  lifecycle.add(console);
  lifecycle.add(
    keepTlsFresh({
      current: tls,
      load: () => refreshTlsMaterial(tlsOptions(settings)),
      use: (next) => console.useTls(forConsole(next)),
      log,
    }),
  );
  log.info({ port: console.port, names: tls.names }, 'console is listening');
  return { port: console.port, ...(password === undefined ? {} : { password }) };
}

/** Says how the console is: in Redis for `cvm status`, and by files for `cvm health`. */
function tellHealth(app: App, redis: RedisConnector): void {
  const { settings, log, lifecycle } = app;
  const { healthDir: folder, site } = settings;
  const watch = lifecycle.add(watchRedis(redis, log));
  const { heard: onChecked } = announcePart(app, redis, 'console');
  const checks = [{ name: 'redis', look: watch.trouble }];
  lifecycle.add(keepHealthFiles({ folder, part: 'console', checks, site, onChecked, log }));
}

function connectLine({ log, lifecycle }: App, redis: RedisConnector): ConsoleDeps['line'] {
  const overview = createLineOverview(redis, log);
  const [line, pace] = [createLine(redis, log), createPace(redis, log)];
  lifecycle.add({
    name: 'line overview',
    close: async () => void (await Promise.all([overview.close(), line.close(), pace.close()])),
  });
  return {
    ...overview,
    async state() {
      const [{ view }, allowed] = await Promise.all([line.look([]), pace.readPace()]);
      return { length: view.length, perSecond: paceOf(view, allowed) };
    },
  };
}

function forConsole(tls: TlsMaterial): ServerTls & { readonly names: readonly string[] } {
  const chains = chainsOf(tls);
  return { cert: chains.map(({ cert }) => cert), key: chains.map(({ key }) => key), names: tls.names };
}

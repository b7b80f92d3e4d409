import { addressList } from '../runtime/addresses.ts';
import { createApiTokenReader } from './api-tokens.ts';
import type { CallerDeps } from './caller.ts';
import type { ConnectionLimits } from './connections.ts';
import type { ConsoleDeps, ServerTls } from './deps.ts';
import type { Pace } from './pace.ts';
import { loadSessionKey, passwordMark, roleOfPassword } from './password.ts';
import { aboutRoutes } from './routes/about.ts';
import { auditRoutes } from './routes/audit.ts';
import { decisionRoutes } from './routes/decisions.ts';
import { deviceListRoutes } from './routes/devices.ts';
import { eventRoutes } from './routes/events.ts';
import { importRoutes } from './routes/import.ts';
import { lineRoutes, readLine } from './routes/line.ts';
import { createNow, nowRoutes } from './routes/now.ts';
import { sessionRoutes } from './routes/session.ts';
import { createServer } from './server.ts';
import { createSessions } from './sessions.ts';
import { oneAtATime } from './turns.ts';
import { createWatchers, type WatcherLimits, type WatcherTimes } from './watchers.ts';

/** Attempts to sign in that wait for their turn: each costs 32 MiB and some 80 ms. */
const waitingAttempts = 8;

/** Starts the console. @returns the port on which it listens @throws when the port is taken */
export async function startConsole(
  deps: ConsoleDeps & {
    readonly watcherTimes?: Partial<WatcherTimes>;
    readonly watcherLimits?: Partial<WatcherLimits>;
    readonly connectionLimits?: ConnectionLimits;
    readonly pace?: Pace;
  },
) {
  const { settings, now } = deps;
  const { dataDir, console: own } = settings;
  const sessions = createSessions({ store: deps.sessions, key: loadSessionKey(dataDir), now });
  const callers: CallerDeps = {
    sessions,
    tokens: createApiTokenReader(dataDir),
    passwordMark: (role) => passwordMark(dataDir, role),
    trusted: own.trusted && { header: own.trusted.header, from: addressList(own.trusted.from) },
    operators: own.operators,
    now,
  };
  const checkPassword = oneAtATime(waitingAttempts, (password: string) => roleOfPassword(dataDir, password));
  const readNow = createNow(deps);
  const watchers = createWatchers({ listen: deps.live.listen, readNow, readLine: () => readLine(deps) }, deps.log, {
    ...deps.watcherTimes,
    ...deps.watcherLimits,
  });
  const peeking = { ...callers, sessions: { ...sessions, find: (id: string) => sessions.find(id, false) } };
  let { names } = deps.tls;
  const { app, useTls } = await createServer(
    deps,
    {
      callers,
      names: () => [...names, settings.machineName, ...settings.hostnames],
      connectionLimits: deps.connectionLimits,
      pace: deps.pace,
    },
    (root) => {
      void root.register(
        async (api) => {
          sessionRoutes(api, { ...deps, sessions, limiter: deps.sessions, callers, roleOfPassword: checkPassword });
          nowRoutes(api, readNow);
          deviceListRoutes(api, deps);
          decisionRoutes(api, deps);
          importRoutes(api, deps);
          aboutRoutes(api, deps);
          lineRoutes(api, deps);
          auditRoutes(api, deps);
          eventRoutes(api, watchers, peeking, sessions.keep);
          api.get(
            '/openapi.json',
            { config: { access: 'viewer' }, schema: { operationId: 'readDescription', summary: 'This description' } },
            async () => api.swagger(),
          );
        },
        { prefix: '/api/v1' },
      );
    },
  );
  await deps.sessions.ready();
  await app.listen({ port: own.port, host: settings.listen });
  // Fastify has taken its listener away; the system may refuse a connection later, and that would end the process
  app.server.on('error', (err) => deps.log.error({ err }, 'a connection to the console could not be accepted'));
  const address = app.server.address();
  return {
    name: 'console',
    port: typeof address === 'object' && address !== null ? address.port : own.port,
    useTls(tls: ServerTls & { readonly names: readonly string[] }) {
      ({ names } = tls);
      useTls(tls);
    },
    /** how many pages are open to events */
    watchers: watchers.size,
    async close() {
      await watchers.close();
      await app.close();
    },
  };
}

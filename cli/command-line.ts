import type { App } from '../app/app.ts';
import type { Settings } from '../runtime/settings.ts';

/** What commands get from the program: settings, parsed from the environment that `cvm.ts` passes in, and what they open is closed. */
export type CommandLine = {
  /** as the program got it, for programs that a command starts for its user */
  readonly environment: NodeJS.ProcessEnv;
  /** @throws SettingsError */
  settings(): Promise<Settings>;
  /** Runs a service until a signal, then closes what it started. @param about is in each line of its log */
  serve(start: (app: App) => Promise<unknown>, about?: object): Promise<void>;
  /** For a command that does one thing and ends. It prints its own outcome, so only warnings are logged, unless LOG_LEVEL says more. */
  app(): Promise<App>;
  /** The same for a command that calls AWS. Where a stand-in runs on the data folder, it says once, on standard error, which AWS it calls. */
  awsApp(): Promise<App>;
  /** Closes what `app` and `awsApp` opened. */
  close(): Promise<void>;
};

export function createCommandLine(env: NodeJS.ProcessEnv): CommandLine {
  let opened: App | undefined;
  let shared: Promise<App> | undefined;
  let withAws: Promise<App> | undefined;
  const settings = () => settingsIn(env);
  const app = () => {
    shared ??= openApp(env).then((made) => {
      opened = made;
      return made;
    });
    return shared;
  };
  return {
    environment: env,
    settings,
    async serve(start, about = {}) {
      const serviceSettings = await settings();
      const { claimDataFolder } = await import('../site-tls/data-format.ts');
      const { createApp } = await import('../app/app.ts');
      const { openServiceLog } = await import('./service-log.ts');
      claimDataFolder(serviceSettings.dataDir);
      const { log, reopen } = openServiceLog(serviceSettings, env.NO_COLOR);
      const service = createApp(serviceSettings, log.child(about), reopen);
      const signal = service.lifecycle.untilEnd();
      try {
        const early = await service.lifecycle.started(start(service), signal);
        service.log.info({ signal: early ?? (await signal) }, 'closing');
      } finally {
        await service.lifecycle.close();
      }
    },
    app,
    awsApp() {
      withAws ??= app().then(onChosenAws);
      return withAws;
    },
    async close() {
      await opened?.lifecycle.close();
    },
  };
}

async function settingsIn(env: NodeJS.ProcessEnv): Promise<Settings> {
  const { loadSettings } = await import('../runtime/settings.ts');
  return loadSettings(env);
}

async function openApp(env: NodeJS.ProcessEnv): Promise<App> {
  const quiet = await settingsIn({ ...env, LOG_LEVEL: env.LOG_LEVEL?.trim() || 'warn' });
  const { createApp } = await import('../app/app.ts');
  const { createLog, standardErrorLog } = await import('../runtime/log.ts');
  return createApp(quiet, createLog(quiet.logLevel, standardErrorLog(quiet.logFormat, env.NO_COLOR)));
}

async function onChosenAws(app: App): Promise<App> {
  const { chooseAws } = await import('./stand-in.ts');
  const { namedAws, refuseMixedAws } = await import('../app/which-aws.ts');
  const { settings, local, remark } = chooseAws(app.settings);
  if (remark !== undefined) console.error(`cvm: ${remark}`);
  if (local === undefined) refuseMixedAws(settings);
  app.log.info(namedAws(settings), 'using AWS');
  return { ...app, settings };
}

import { type App, createApp } from '../app/app.ts';
import { namedAws, refuseMixedAws } from '../app/which-aws.ts';
import { createLog, standardErrorLog } from '../runtime/log.ts';
import { loadSettings, type Settings } from '../runtime/settings.ts';
import { claimDataFolder } from '../site-tls/data-format.ts';
import { openServiceLog } from './service-log.ts';
import { chooseAws } from './stand-in.ts';

/** What commands get from the program: settings, parsed from the environment that `cvm.ts` passes in, and what they open is closed. */
export type CommandLine = {
  /** as the program got it, for programs that a command starts for its user */
  readonly environment: NodeJS.ProcessEnv;
  /** @throws SettingsError */
  settings(): Settings;
  /** Runs a service until a signal, then closes what it started. @param about is in each line of its log */
  serve(start: (app: App) => Promise<unknown>, about?: object): Promise<void>;
  /** For a command that does one thing and ends. It prints its own outcome, so only warnings are logged, unless LOG_LEVEL says more. */
  app(): App;
  /** The same for a command that calls AWS. Where a stand-in runs on the data folder, it says once, on standard error, which AWS it calls. */
  awsApp(): App;
  /** Closes what `app` and `awsApp` opened. */
  close(): Promise<void>;
};

export function createCommandLine(env: NodeJS.ProcessEnv): CommandLine {
  let shared: App | undefined;
  let withAws: App | undefined;
  const settings = () => loadSettings(env);
  const quietSettings = () => loadSettings({ ...env, LOG_LEVEL: env.LOG_LEVEL?.trim() || 'warn' });
  const app = (): App => {
    if (shared === undefined) {
      const quiet = quietSettings();
      shared = createApp(quiet, createLog(quiet.logLevel, standardErrorLog(quiet.logFormat, env.NO_COLOR)));
    }
    return shared;
  };
  return {
    environment: env,
    settings,
    async serve(start, about = {}) {
      const serviceSettings = settings();
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
      if (withAws === undefined) {
        const chosen = chooseAws(app().settings);
        if (chosen.remark !== undefined) console.error(`cvm: ${chosen.remark}`);
        if (chosen.local === undefined) refuseMixedAws(chosen.settings);
        app().log.info(namedAws(chosen.settings), 'using AWS');
        withAws = { ...app(), settings: chosen.settings };
      }
      return withAws;
    },
    async close() {
      await shared?.lifecycle.close();
    },
  };
}

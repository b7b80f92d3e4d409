import { type Command, CommanderError } from 'commander';
import { type App, createApp } from '../app/app.ts';
import { redisCure } from '../queue/redis.ts';
import { createLog } from '../runtime/log.ts';
import { loadSettings, type Settings, SettingsError } from '../runtime/settings.ts';
import { cureOf } from '../runtime/upstream.ts';
import { OutputClosed, writeText } from './output.ts';
import { chooseAws } from './stand-in.ts';

/** Wrong use of the program: exit status 2, message only. */
export class UsageError extends Error {}

/** What commands get from the program: settings, parsed from the environment that `cvm.ts` passes in, and what they open is closed. */
export type CommandLine = {
  /** @throws SettingsError */
  settings(): Settings;
  /** Runs a service until a signal, then closes what it started. */
  serve(start: (app: App) => Promise<unknown>): Promise<void>;
  /** For a command that does one thing and ends. It prints its own outcome, so only warnings are logged, unless LOG_LEVEL says more. */
  app(): App;
  /** The same for a command that calls AWS. Where a stand-in runs on the data folder, it says once, on standard error, which AWS it calls. */
  awsApp(): App;
  /** whether LOG_LEVEL asks for everything: then an unexpected error is shown with its stack */
  readonly tracing: boolean;
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
      shared = createApp(quiet, createLog(quiet.logLevel));
    }
    return shared;
  };
  return {
    settings,
    async serve(start) {
      const serviceSettings = settings();
      const service = createApp(serviceSettings, createLog(serviceSettings.logLevel));
      const signal = service.lifecycle.untilSignal();
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
        withAws = { ...app(), settings: chosen.settings };
      }
      return withAws;
    },
    tracing: env.LOG_LEVEL === 'trace',
    async close() {
      await shared?.lifecycle.close();
    },
  };
}

/** Exit statuses: 0 done, 1 failed, 2 wrong use or wrong configuration. */
export async function main(program: Command, commandLine: CommandLine, argv: readonly string[]): Promise<void> {
  prepare(program);
  // a reader of the log that has gone is no reason to stop
  process.stderr.on('error', () => {});
  try {
    await program.parseAsync([...argv]);
  } catch (error) {
    process.exitCode = statusOf(error, commandLine.tracing);
  } finally {
    await commandLine.close();
    // everything is closed; what still keeps the process up (a connection that tries to reach a Redis that is away) shall not
    setTimeout(() => process.exit(), 1000).unref();
  }
}

/** Commands that were made by themselves inherit nothing of the program's. */
export function prepare(program: Command): Command {
  for (const command of everyCommand(program))
    command
      .exitOverride()
      .configureOutput({ writeOut: writeText, outputError: (text, write) => write(withoutValues(text)) });
  return program.hook('preAction', (_program, command) => refuseEmpty(command));
}

/** An empty argument is a mistake, and none of its possible meanings a good guess. */
function refuseEmpty(command: Command): void {
  if (command.args.includes(''))
    throw new UsageError('an argument is empty; perhaps a variable of the shell is not set');
}

/**
 * Commander quotes an option that it does not know as it was given, `--token=SECRET` with its value. A terminal's output
 * is kept in more places than its input.
 */
function withoutValues(text: string): string {
  return text.replace(/unknown option '(--[^=']*=|-[^-']).+'/s, "unknown option '$1…'");
}

function* everyCommand(command: Command): Iterable<Command> {
  yield command;
  for (const child of command.commands) yield* everyCommand(child);
}

function statusOf(error: unknown, tracing: boolean): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  // its reader has what it wanted
  if (error instanceof OutputClosed) return 0;
  console.error(`cvm: ${error instanceof Error ? error.message : String(error)}`);
  const cure = cureOf(error) ?? (error instanceof Error ? redisCure(error) : undefined);
  if (cure !== undefined) console.error(`cvm: ${cure}`);
  if (error instanceof SettingsError || error instanceof UsageError) return 2;
  if (tracing && error instanceof Error) console.error(error.stack);
  return 1;
}

import { type Command, CommanderError } from 'commander';
import { type App, createApp } from '../app/app.ts';
import { createLog } from '../runtime/log.ts';
import { loadSettings, type Settings, SettingsError } from '../runtime/settings.ts';
import { awsIsConfigured, findLocalAws, tidyAwsVariables, useLocalAws } from './environment.ts';

/** Wrong use of the program: exit status 2, message only. */
export class UsageError extends Error {}

/** Settings for a command: those of the environment, checked, with the stand-in of this data folder where no AWS is named. */
export function readSettings(): Settings {
  tidyAwsVariables(process.env);
  const settings = loadSettings(process.env);
  if (awsIsConfigured(process.env)) return settings;
  const local = findLocalAws(settings.dataDir);
  if (local === undefined) return settings;
  useLocalAws(process.env, local);
  return loadSettings(process.env);
}

/** Runs a part until a signal, then closes what it started. */
export async function serve(start: (app: App) => Promise<unknown>): Promise<void> {
  const settings = readSettings();
  const app = createApp(settings, createLog(settings.logLevel));
  const { log, lifecycle } = app;
  const signal = lifecycle.untilSignal();
  try {
    await start(app);
    log.info({ signal: await signal }, 'closing');
  } finally {
    await lifecycle.close();
  }
}

let shared: App | undefined;

/**
 * What a command that does one thing and ends works with; `main` closes it. Such a command prints its own outcome, so
 * the log is quiet unless LOG_LEVEL asks for more.
 */
export function forOneCommand(): App {
  if (shared === undefined) {
    const settings = readSettings();
    shared = createApp(settings, createLog(process.env.LOG_LEVEL ? settings.logLevel : 'warn'));
  }
  return shared;
}

/** Exit statuses: 0 done, 1 failed, 2 wrong use or wrong configuration. */
export async function main(program: Command, argv: readonly string[]): Promise<void> {
  prepare(program);
  try {
    await program.parseAsync([...argv]);
  } catch (error) {
    process.exitCode = statusOf(error);
  } finally {
    await shared?.lifecycle.close();
    // everything is closed; whatever still keeps the process up (a connection that tries to reach a Redis that is away) shall not
    setTimeout(() => process.exit(), 1000).unref();
  }
}

/** Commands that were made by themselves inherit nothing of the program's. */
export function prepare(program: Command): Command {
  for (const command of everyCommand(program))
    command.exitOverride().configureOutput({ outputError: (text, write) => write(withoutValues(text)) });
  return program;
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

function statusOf(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  const usage = error instanceof SettingsError || error instanceof UsageError;
  console.error(`cvm: ${error instanceof Error ? error.message : String(error)}`);
  if (!usage && process.env.LOG_LEVEL === 'trace' && error instanceof Error) console.error(error.stack);
  return usage ? 2 : 1;
}

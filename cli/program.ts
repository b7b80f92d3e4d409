import { Command, CommanderError } from 'commander';
import { errorText, systemCure } from '../runtime/errors.ts';
import type { CommandEntry } from './commands.ts';
import type { CliContext } from './context.ts';
import type { Failure } from './failure.ts';
import { failureText } from './failure-text.ts';
import { OutputClosed, writeText } from './output.ts';
import { UsageError } from './usage-error.ts';
import { toldOfWrongUse } from './wrong-use.ts';

/** What the program runs with. */
export type Run = {
  readonly argv: readonly string[];
  readonly commands: readonly CommandEntry[];
  context(): Promise<CliContext>;
  /** whether an unexpected error is shown with its stack */
  withStack(): boolean;
  /** closes what the command opened */
  close(): Promise<void>;
};

/** Exit statuses: 0 done, 1 failed, 2 wrong use or wrong configuration. */
export async function main(program: Command, { argv, commands, context, withStack, close }: Run): Promise<void> {
  // a reader of the output or of the log that has gone is no reason to stop
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});
  const asJson = wantsJson(argv);
  for (const event of ['uncaughtException', 'unhandledRejection'])
    process.on(event, (error) => void endAtFault(error, { withStack, asJson }));
  try {
    await addCommands(program, commands, argv, context);
    await prepare(program, asJson).parseAsync([...argv]);
  } catch (error) {
    process.exitCode = await say(error, { withStack, asJson });
  } finally {
    await close();
    // everything is closed; what still keeps the process up (a connection that tries to reach a Redis that is away) shall not
    setTimeout(() => process.exit(), 1000).unref();
  }
}

/** Of all commands the help has name and description; the code of the one that is named is loaded. */
async function addCommands(
  program: Command,
  commands: readonly CommandEntry[],
  argv: readonly string[],
  context: () => Promise<CliContext>,
): Promise<void> {
  const wanted = argv.slice(2).find((word) => commands.some(({ name }) => name === word));
  for (const { name, description, load } of commands)
    program.addCommand((name === wanted ? await load(context) : new Command(name)).description(description));
}

/** With `--json` a program reads what the command says, also when the command fails. */
export function wantsJson(argv: readonly string[]): boolean {
  const end = argv.indexOf('--');
  return argv.slice(0, end < 0 ? argv.length : end).includes('--json');
}

type Saying = { withStack(): boolean; readonly asJson: boolean };

/** Ends the process at an unexpected error, which leaves it in an unknown state. A service manager starts it again. */
async function endAtFault(error: unknown, saying: Saying): Promise<never> {
  await say(
    error,
    saying,
    'this is a fault of cvm itself: please report it, with the output of a run with LOG_LEVEL=debug',
  );
  process.exit(1);
}

/** Commands that were made by themselves inherit nothing of the program's. */
export function prepare(program: Command, asJson = false): Command {
  for (const command of everyCommand(program))
    command.exitOverride().configureOutput({
      writeOut: writeText,
      outputError: (text, write) => write(`${failureText(toldOfWrongUse(command, text), 2, asJson)}\n`),
    });
  return program.hook('preAction', (_program, command) => refuseEmpty(command));
}

/** An empty argument is a mistake, and none of its possible meanings a good guess. */
function refuseEmpty(command: Command): void {
  if (command.args.includes(''))
    throw new UsageError('an argument is empty; perhaps a variable of the shell is not set');
}

function* everyCommand(command: Command): Iterable<Command> {
  yield command;
  for (const child of command.commands) yield* everyCommand(child);
}

/** Says what to do, and what went wrong. @param fallback what to do where the error names no cure @returns the exit status */
async function say(error: unknown, { withStack, asJson }: Saying, fallback?: string): Promise<number> {
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
  // its reader has what it wanted
  if (error instanceof OutputClosed) return 0;
  const { cause, cure = fallback, status, stack } = await describe(error);
  console.error(failureText({ cause, cure }, status, asJson));
  if (withStack() && stack !== undefined) console.error(stack);
  return status;
}

/**
 * What knows the errors of every library is loaded here only. A process that cannot load it, since all its files are open, must end all the
 * same: a further fault would lead here again, and the process would neither work nor end.
 */
async function describe(error: unknown): Promise<Failure> {
  const known = await import('./failure.ts').catch(() => undefined);
  if (known !== undefined) return known.describeFailure(error);
  return { cause: errorText(error), cure: error instanceof Error ? systemCure(error) : undefined, status: 1 };
}

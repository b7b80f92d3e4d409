import type { Argument, Command, Option } from 'commander';
import { nearestName } from '../runtime/nearest-name.ts';
import type { Told } from './failure-text.ts';

/**
 * What to do about a command line that commander refuses. @param text as commander says it: `error: …`, and perhaps `(Did you mean …?)`
 */
export function toldOfWrongUse(command: Command, text: string): Told {
  // a sentence of the command itself, which says what to do
  if (!text.startsWith('error: ')) return { cause: `${text.trim()}; "${pathOf(command)} --help" says more` };
  const [, said = '', meant] = /^(?:error: )?(.*?)(?:\s*\(Did you mean (.*)\?\))?\s*$/s.exec(withoutValues(text)) ?? [];
  const [, cause = said, allowed] = /^(.*?)\.? Allowed choices are (.*?)\.?$/s.exec(said) ?? [];
  const help = `"${pathOf(command)} --help" says more`;
  if (meant !== undefined) return { cause, cure: `did you mean ${meant.replace(/^one of /, '')}? ${help}` };
  if (allowed !== undefined) return { cause, cure: `${meantOf(cause, allowed)}give one of ${allowed}; ${help}` };
  const [, what, rule] = /^((?:option|command-argument) .*? is invalid)\. (.+)$/s.exec(cause) ?? [];
  if (what !== undefined && rule !== undefined) return { cause: what, cure: `${rule.replace(/\.$/, '')}; ${help}` };
  const reordered = reorder(command, cause);
  if (reordered !== undefined) return { cause, cure: `did you mean "${reordered}"? ${help}` };
  return { cause, cure: `for example: ${exampleOf(command)} – ${help}` };
}

/**
 * The line as it was meant, where a command stands behind what belongs to it: `cvm SN-1 explain`, `cvm list devices`, `cvm devices --json list`.
 * Without options, whose values may be secrets, but for that one.
 */
function reorder(command: Command, cause: string): string | undefined {
  const isJson = cause === "unknown option '--json'";
  if (!isJson && !cause.startsWith('unknown command')) return undefined;
  const words = command.args.filter((word) => !word.startsWith('-'));
  const at = words.findIndex((word) => command.commands.map((each) => each.name()).includes(word));
  if (at < (isJson ? 0 : 1) || command.args.some((word) => word.startsWith('-') && word !== '--json')) return undefined;
  const [name = '', ...others] = [...words.splice(at, 1), ...words];
  return [pathOf(command), name, ...others, ...(isJson ? ['--json'] : [])].join(' ');
}

/**
 * Commander quotes an option that it does not know as it was given, `--token=SECRET` with its value. A terminal's output
 * is kept in more places than its input.
 */
function withoutValues(text: string): string {
  return text.replace(/unknown option '(--[^=']*=|-[^-']).+'/s, "unknown option '$1…'");
}

function pathOf(command: Command): string {
  return command.parent === null ? command.name() : `${pathOf(command.parent)} ${command.name()}`;
}

/** Of choices, commander names no near one. */
function meantOf(cause: string, allowed: string): string {
  const given = /(?:argument|value) '([^']*)' is invalid/.exec(cause)?.[1] ?? '';
  const choices = allowed.split(', ');
  const near = nearestName(
    given,
    choices.map((each) => each.toUpperCase()),
  );
  return near === undefined ? '' : `did you mean ${near.toLowerCase()}? `;
}

/** A line that works, as far as the definition of the command tells. */
function exampleOf(command: Command): string {
  const [first] = command.commands;
  if (first !== undefined) return exampleOf(first);
  return [
    pathOf(command),
    ...command.registeredArguments.filter(({ required }) => required).map(placeholderOf),
    ...command.options.filter(({ mandatory }) => mandatory).map((option) => `${option.long} ${placeholderOf(option)}`),
  ].join(' ');
}

const examples: Readonly<Record<string, string>> = { serial: 'SN-1', site: 'plant-7' };

function placeholderOf(of: Argument | Option): string {
  const name = 'flags' in of ? (/[<[]([^>\].]+)/.exec(of.flags)?.[1] ?? '') : of.name();
  return of.argChoices?.[0] ?? examples[name] ?? name.toUpperCase();
}

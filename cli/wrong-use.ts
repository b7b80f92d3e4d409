import type { Argument, Command, Option } from 'commander';
import { nearestName } from '../runtime/nearest-name.ts';
import type { Told } from './failure-text.ts';

/**
 * What to do about a command line that commander refuses. @param text as commander says it: `error: …`, and perhaps `(Did you mean …?)`
 */
export function toldOfWrongUse(command: Command, text: string): Told {
  const [, said = '', meant] = /^(?:error: )?(.*?)(?:\s*\(Did you mean (.*)\?\))?\s*$/s.exec(withoutValues(text)) ?? [];
  const [, cause = said, allowed] = /^(.*?)\.? Allowed choices are (.*?)\.?$/s.exec(said) ?? [];
  const help = `"${pathOf(command)} --help" says more`;
  if (meant !== undefined) return { cause, cure: `did you mean ${meant.replace(/^one of /, '')}? ${help}` };
  if (allowed !== undefined) return { cause, cure: `${meantOf(cause, allowed)}give one of ${allowed}; ${help}` };
  return { cause, cure: `for example: ${exampleOf(command)} – ${help}` };
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

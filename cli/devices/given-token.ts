import { readFileSync, statSync } from 'node:fs';
import type { Command } from 'commander';
import { errorText, systemCure } from '../../runtime/errors.ts';
import { UsageError } from '../usage-error.ts';

export type TokenOptions = { token?: string; tokenFile?: string };

/** The options of every command that takes a token which the device has already. */
export function withTokenOptions(command: Command): Command {
  return command
    .option(
      '--token-file <file>',
      'a token that the device has already: the one line of this file, "-" for standard input; only with one serial',
    )
    .option(
      '--token <token>',
      'the same on the command line, where other users of this machine can see it (ps) while the command runs, and where the shell keeps it in its history',
    );
}

/**
 * The token that the options give; undefined when one is to be made.
 * @throws UsageError when they give it twice or to several serials, or when the file has no token. Never quotes the token
 */
export function givenToken({ token, tokenFile }: TokenOptions, serials: readonly string[]): string | undefined {
  if (token === undefined && tokenFile === undefined) return undefined;
  const option = token === undefined ? '--token-file' : '--token';
  if (token !== undefined && tokenFile !== undefined) throw new UsageError('give --token or --token-file, not both');
  if (new Set(serials).size > 1) throw new UsageError(`${option} goes with one serial: a token belongs to one device`);
  return token ?? tokenIn(tokenFile ?? '');
}

const standardInput = '-';

/** A token has at most 512 characters. */
const maxBytes = 4096;

function tokenIn(file: string): string {
  const text = file === standardInput ? read(0, 'standard input') : read(file, file);
  const [token, ...more] = text
    .replace(/^\ufeff/, '')
    .split(/\r?\n/)
    .filter((line) => line !== '');
  const name = file === standardInput ? 'standard input' : file;
  if (token === undefined) throw new UsageError(`${name} has no token: it is empty`);
  if (more.length > 0) throw new UsageError(`${name} has more than one line: it must have the token and nothing else`);
  return token;
}

function read(file: string | number, name: string): string {
  try {
    if (typeof file === 'string' && statSync(file).size > maxBytes)
      throw new UsageError(`${name} has more than a token in it: it must have the token and nothing else`);
    return readFileSync(file, 'utf8');
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(`${name} cannot be read: ${errorText(error)}. ${systemCure(error) ?? ''}`.trimEnd());
  }
}

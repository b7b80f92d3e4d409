import { readFileSync } from 'node:fs';
import type { Settings } from '../runtime/settings.ts';
import { UsageError } from './usage-error.ts';

/** The fewest characters of a passphrase: a thief of the file can try passphrases on any number of machines. */
export const leastPassphrase = 12;
/** "aaaaaaaaaaaa" and "121212121212" are the first that a thief tries. */
const fewestDifferent = 6;

const rule = `a passphrase has ${leastPassphrase} characters or more, and ${fewestDifferent} different ones: take five words at random, say`;

/**
 * Reads the passphrase of a backup from the file that an option names, from CVM_BACKUP_PASSPHRASE, or from the terminal. It is no argument: every
 * user of the machine can read those.
 * @param twice ask for it a second time: the terminal does not show it, and a typing error would go unnoticed
 */
export async function passphraseOf(
  { backupPassphrase }: Pick<Settings, 'backupPassphrase'>,
  file: string | undefined,
  { twice }: { readonly twice: boolean },
): Promise<string> {
  if (file !== undefined) return checked(firstLine(file), `${file}: `);
  if (backupPassphrase !== undefined) return checked(backupPassphrase, 'CVM_BACKUP_PASSPHRASE: ');
  if (!process.stdin.isTTY)
    throw new UsageError(
      'a passphrase is needed, and there is no terminal to ask at: name a file in --passphrase-file, or set CVM_BACKUP_PASSPHRASE',
    );
  // before the question is on the screen, so that no key is shown
  const keys = hiddenKeys();
  try {
    const typed = checked(await ask(keys, 'Passphrase of the backup: '), '');
    if (twice && (await ask(keys, 'The same again: ')) !== typed) throw new UsageError('the two passphrases differ');
    return typed;
  } finally {
    keys.close();
  }
}

function checked(passphrase: string, from: string): string {
  if (passphrase.length < leastPassphrase || new Set(passphrase).size < fewestDifferent)
    throw new UsageError(`${from}${rule}`);
  return passphrase;
}

/** Editors end a file with a line end. */
const firstLine = (file: string): string => /^[^\r\n]*/.exec(readFileSync(file, 'utf8'))?.[0] ?? '';

type Keys = { next(): Promise<string>; close(): void };

/** Reads the terminal key by key, and shows no key. Keys that come before the next question wait for it: a paste may have several lines. */
function hiddenKeys(): Keys {
  const { stdin } = process;
  const waiting: string[] = [];
  let isOver = false;
  let wake = () => {};
  const take = (text: string) => {
    waiting.push(...text.replaceAll('\r\n', '\n').replace(escapeSequence, ''));
    wake();
  };
  const hangUp = () => {
    isOver = true;
    wake();
  };
  stdin.setRawMode(true);
  stdin.setEncoding('utf8').on('data', take).on('end', hangUp).resume();
  return {
    async next() {
      while (waiting.length === 0) {
        if (isOver) throw new UsageError('the terminal was closed: nothing was done');
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      return waiting.shift() ?? '';
    },
    close() {
      stdin.off('data', take).off('end', hangUp).pause();
      showKeys();
    },
  };
}

/** A terminal that is gone needs nothing back; its error would stand in the place of what is to be told. */
function showKeys(): void {
  try {
    process.stdin.setRawMode(false);
  } catch {
    // it is gone
  }
}

async function ask(keys: Keys, question: string): Promise<string> {
  process.stderr.write(question);
  try {
    for (let typed: readonly string[] = []; ; ) {
      const key = await keys.next();
      if (key === '\r' || key === '\n') return typed.join('');
      if (key === '\u0003' || key === '\u0004') throw new UsageError('interrupted: nothing was done');
      typed = edited(typed, key);
    }
  } finally {
    process.stderr.write('\n');
  }
}

/** Arrows, Delete and the like. The screen does not show that they were pressed, so they are no part of a passphrase. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: a terminal sends them
const escapeSequence = /\u001b(?:\[[\d;?]*[ -/]*[@-~]|O.|.)?/g;

/** As a terminal does it: Backspace takes one character, Ctrl-U all of them, Ctrl-W the last word. */
function edited(typed: readonly string[], key: string): readonly string[] {
  if (key === '\u007f' || key === '\b') return typed.slice(0, -1);
  if (key === '\u0015') return [];
  if (key === '\u0017') return [...typed.join('').replace(/\S*\s*$/, '')];
  return /\p{Cc}/u.test(key) ? typed : [...typed, key];
}

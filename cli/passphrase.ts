import { readFileSync } from 'node:fs';
import type { Settings } from '../runtime/settings.ts';
import { UsageError } from './usage-error.ts';

/** The fewest characters of a passphrase: a thief of the file can try passphrases on any number of machines. */
export const leastPassphrase = 12;

const rule = `a passphrase has ${leastPassphrase} characters or more: take five words at random, say`;

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
  const typed = checked(await ask('Passphrase of the backup: '), '');
  if (twice && (await ask('The same again: ')) !== typed) throw new UsageError('the two passphrases differ');
  return typed;
}

function checked(passphrase: string, from: string): string {
  if (passphrase.length < leastPassphrase) throw new UsageError(`${from}${rule}`);
  return passphrase;
}

/** Editors end a file with a line end. */
const firstLine = (file: string): string => /^[^\r\n]*/.exec(readFileSync(file, 'utf8'))?.[0] ?? '';

/** Asks at the terminal, and does not show the typed characters. */
function ask(question: string): Promise<string> {
  const { stdin, stderr } = process;
  stderr.write(question);
  stdin.setRawMode(true);
  stdin.setEncoding('utf8');
  stdin.resume();
  return new Promise((resolve, reject) => {
    let typed = '';
    const end = (result: () => void) => {
      stdin.off('data', take);
      stdin.setRawMode(false);
      stdin.pause();
      stderr.write('\n');
      result();
    };
    function take(text: string): void {
      for (const character of text) {
        if (character === '\r' || character === '\n') {
          end(() => resolve(typed));
          return;
        }
        if (character === '\u0003' || character === '\u0004') {
          end(() => reject(new UsageError('interrupted: nothing was done')));
          return;
        }
        typed = character === '\u007f' || character === '\b' ? typed.slice(0, -1) : typed + character;
      }
    }
    stdin.on('data', take);
  });
}

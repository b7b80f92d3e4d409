import { resolve } from 'node:path';
import { Command } from 'commander';
import { standardStream } from '../backup/standard-stream.ts';
import { counted } from '../runtime/counted.ts';
import type { CliContext } from './context.ts';
import { withKnownFolder } from './data-folder.ts';
import { passphraseOf } from './passphrase.ts';
import { UsageError } from './usage-error.ts';

export type BackupContext = Pick<CliContext, 'settings' | 'write'>;

type Options = { audit?: boolean; passphraseFile?: string; json?: boolean };

export const passphraseFileOption = ['--passphrase-file <file>', 'its first line is the passphrase'] as const;

/** Settings of the folder in which the command runs. */
export const envFileHere = (): string => resolve('.env');

export function backupCommand(context: BackupContext): Command {
  return new Command('backup')
    .argument('<file>', 'a file that is not there yet, "-" for standard output')
    .description(
      'save the identity of this gateway in one sealed file: site CA, keys, passwords and API tokens of the console, templates, settings',
    )
    .option('--audit', 'the audit trail as well')
    .option(...passphraseFileOption)
    .option('--json', 'print what was done as JSON')
    .addHelpText(
      'after',
      '\nThe passphrase comes from --passphrase-file, from the environment variable CVM_BACKUP_PASSPHRASE, or from the terminal. Without the passphrase the file cannot be opened, not even by you.\nThe gateway may run meanwhile. Redis and the table are not in it: docs/restoring.md.',
    )
    .action((file: string, options: Options) => run(context, file, options));
}

async function run({ settings, write }: BackupContext, file: string, options: Options): Promise<void> {
  if (file === standardStream && process.stdout.isTTY)
    throw new UsageError(
      'the backup would go to the screen: write it to a file, as in "> site.cvm", and in compose with -T',
    );
  const { backUp } = await import('../backup/backup.ts');
  const { placesOf } = await import('../backup/site-files.ts');
  const own = await withKnownFolder(settings)();
  const passphrase = await passphraseOf(own, options.passphraseFile, { twice: true });
  const { audit = false } = options;
  const places = placesOf(own, envFileHere());
  const { files, manifest } = await backUp(file, passphrase, places, { audit, site: own.site, now: new Date() });
  const say = file === standardStream ? (line: string) => console.error(line) : write;
  if (options.json) return say(JSON.stringify({ file, files: files.map(({ path }) => path), ...manifest }));
  say(`${file}: ${counted(files.length, 'file')} of the gateway ${manifest.gateway}, sealed`);
  if (!manifest.withSettings) say('without settings: there is no .env in this folder. Keep them in another way');
  say('Keep it away from this machine, and the passphrase away from it.');
}

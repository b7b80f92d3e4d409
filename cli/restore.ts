import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import type { BackupInside } from '../backup/restore.ts';
import type { SitePlaces } from '../backup/site-files.ts';
import { standardStream } from '../backup/standard-stream.ts';
import { counted } from '../runtime/counted.ts';
import { isThere } from '../runtime/is-there.ts';
import { envFileHere, passphraseFileOption } from './backup.ts';
import { CommandFailed } from './complaint.ts';
import type { CliContext } from './context.ts';
import { passphraseOf } from './passphrase.ts';

export type RestoreContext = Pick<CliContext, 'settings' | 'environment' | 'write'>;

type Options = { check?: boolean; keepSettings?: boolean; passphraseFile?: string };

export function restoreCommand(context: RestoreContext): Command {
  return new Command('restore')
    .argument('<file>', 'file that cvm backup wrote, "-" for standard input')
    .description('put the files of a backup into an empty data folder: all of them, or none; nothing is overwritten')
    .option('--check', 'only say what is in it, and whether it is whole')
    .option('--keep-settings', 'go by the settings that are here, and leave those of the backup out')
    .option(...passphraseFileOption)
    .addHelpText('after', '\nThe passphrase: as for cvm backup. What to do afterwards: docs/restoring.md.')
    .action((file: string, options: Options) => run(context, file, options));
}

async function run(context: RestoreContext, file: string, options: Options): Promise<void> {
  const { settings, write } = context;
  // before anybody types a passphrase
  if (file !== standardStream && !isThere(file))
    throw new CommandFailed(`there is no file ${file}`, 'correct the path');
  const { openSealedFile } = await import('../backup/sealed-file.ts');
  const { checkBackup, readBackup, restore } = await import('../backup/restore.ts');
  const reader = await openSealedFile(
    file,
    await passphraseOf(await settings(), options.passphraseFile, { twice: false }),
  );
  try {
    const inside = readBackup(reader);
    const { gateway } = inside.manifest;
    const about = `${inside.head.createdAt}, by cvm ${inside.head.cvm}, of the gateway ${gateway}`;
    if (options.check) {
      const names = checkBackup(inside);
      for (const name of names) write(name);
      return console.error(`whole: ${counted(names.length, 'file')}, ${about}`);
    }
    const { files, leftOut } = restore(inside, await placesFor(context, inside, options.keepSettings ?? false));
    for (const each of files) write(each);
    for (const each of leftOut)
      console.error(
        `left out: ${each}, whose folder is read-only here. What compose makes, it makes anew; to have a file of yours back, mount its folder so that it can be written to`,
      );
    console.error(`restored: ${counted(files.length, 'file')}, ${about}. Start the gateway; its devices know it`);
  } finally {
    reader.close();
  }
}

/** The settings name the places of the files. Without an .env here, those of the backup count; the environment comes first. */
async function placesFor(
  { settings, environment }: RestoreContext,
  inside: BackupInside,
  keep: boolean,
): Promise<SitePlaces> {
  const { placesOf } = await import('../backup/site-files.ts');
  const { parseEnvFile } = await import('../runtime/env-file.ts');
  const { loadSettings } = await import('../runtime/settings.ts');
  const envFile = envFileHere();
  const isSame = isThere(envFile) && readFileSync(envFile, 'utf8') === inside.settings;
  if (keep || isSame || inside.settings === undefined) return placesOf(await settings(), undefined);
  const { variables } = parseEnvFile(inside.settings, environment);
  return placesOf(loadSettings({ ...variables, ...environment }), envFile);
}

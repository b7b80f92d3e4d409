import { Command } from 'commander';
import { counted } from '../runtime/counted.ts';
import type { Settings } from '../runtime/settings.ts';
import {
  faultsOf,
  readTemplateFile,
  readTemplateFolder,
  type TemplateFile,
  templateNameOf,
} from '../templates/load.ts';
import { type Column, plainRow, type Terminal, tableLines } from './table.ts';
import { UsageError } from './usage-error.ts';

export type TemplatesContext = {
  settings(): Promise<Settings>;
  write(line: string): void;
  readonly terminal?: Terminal | undefined;
};

export function templatesCommand(context: TemplatesContext): Command {
  const templates = new Command('templates');
  templates
    .command('check')
    .description(
      'check provisioning templates, which are files NAME.json in the format of AWS: exit status 0, or 1 with all faults',
    )
    .argument('[file...]', 'the files (default: all of CVM_TEMPLATES_DIR)')
    .option('--json', 'as JSON')
    .action(async (files: string[], { json }: { json?: boolean }) => {
      const read =
        files.length > 0 ? files.map(readNamed) : readTemplateFolder((await context.settings()).templatesDir);
      const faults = faultsOf(read);
      if (json) context.write(JSON.stringify(read.map(described)));
      else {
        for (const fault of faults) console.error(`cvm: ${fault}`);
        if (faults.length === 0) context.write(`${counted(read.length, 'template')} without a fault`);
      }
      if (faults.length > 0) process.exitCode = 1;
    });
  templates
    .command('list')
    .description('list the templates in CVM_TEMPLATES_DIR, by the names that devices use')
    .option('--json', 'as JSON')
    .action(async ({ json }: { json?: boolean }) => {
      const folder = (await context.settings()).templatesDir;
      const read = readTemplateFolder(folder);
      if (json) context.write(JSON.stringify(read.map(described)));
      else if (read.length === 0) context.write(`no template in ${folder}`);
      else for (const line of linesOf(read, context.terminal)) context.write(line);
    });
  return templates;
}

const columns: readonly Column[] = [
  { title: 'TEMPLATE' },
  { title: 'STATE', colour: (state) => (state === 'ready' ? 'green' : 'red') },
];

function linesOf(read: readonly TemplateFile[], terminal: Terminal | undefined): string[] {
  const rows = read
    .map(described)
    .map(({ name, file, faults }) => [
      name,
      faults.length === 0 ? 'ready' : `${counted(faults.length, 'fault')}: cvm templates check ${file}`,
    ]);
  return terminal === undefined ? rows.map((row) => plainRow(row, [36])) : tableLines(columns, rows, terminal);
}

const described = (each: TemplateFile) => ({
  name: templateNameOf(each.file),
  file: each.file,
  faults: 'faults' in each ? each.faults : [],
});

function readNamed(file: string): TemplateFile {
  try {
    return readTemplateFile(file);
  } catch (error) {
    throw new UsageError(`${file} cannot be read: ${(error as Error).message}`);
  }
}

import { readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { readTemplate, type Template } from './template.ts';

/** The templates of a gateway, by name. */
export type Templates = ReadonlyMap<string, Template>;

/** A file of a template, and what was read from it. */
export type TemplateFile = { readonly file: string } & ReturnType<typeof readTemplate>;

/** A template is named by its file, without .json. */
export const templateNameOf = (file: string): string => basename(file, '.json');

/** @throws the error of the file system */
export function readTemplateFile(file: string): TemplateFile {
  return { file, ...readTemplate(templateNameOf(file), readFileSync(file, 'utf8')) };
}

/** Every *.json of a folder, in the order of their names; none where there is no such folder. @throws the error of the file system */
export function readTemplateFolder(folder: string): TemplateFile[] {
  return namesIn(folder)
    .filter((name) => name.endsWith('.json'))
    .sort()
    .map((name) => readTemplateFile(join(folder, name)));
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** Each fault in one sentence, beginning with its file. */
export const faultsOf = (files: readonly TemplateFile[]): string[] =>
  files.flatMap((each) => ('faults' in each ? each.faults.map((fault) => `${each.file}: ${fault}`) : []));

export const templatesOf = (files: readonly TemplateFile[]): Templates =>
  new Map(files.flatMap((each) => ('template' in each ? [[each.template.name, each.template] as const] : [])));

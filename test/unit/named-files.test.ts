import { readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join, normalize } from 'node:path';
import { expect, it } from 'vitest';

const root = join(import.meta.dirname, '../..');
/** Folders that the repository does not keep. */
const notKept = new Set(['node_modules', 'dist', 'data', 'coverage', 'reports']);

function* filesBelow(folder: string): Iterable<string> {
  for (const entry of readdirSync(join(root, folder), { withFileTypes: true })) {
    if (notKept.has(entry.name) || (entry.isDirectory() && entry.name.startsWith('.'))) continue;
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* filesBelow(path);
    else yield path;
  }
}

const files = [...filesBelow('')];
const paths = new Set(files);
const names = new Set(files.map((path) => basename(path)));

/** The comments of a program; the code spans and links of a page. */
function proseOf(path: string, text: string): string[] {
  if (path.endsWith('.md'))
    return [...text.matchAll(/`([^`\n]+)`/g), ...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, span = '']) => span);
  return [...text.matchAll(/\/\*\*?([\s\S]*?)\*\/|(?:^|[;{},\s])\/\/(.*)$/gm)].map(
    ([, block, line]) => block ?? line ?? '',
  );
}

/** Files of a data folder, those of a release, and the file of an example. */
const madeAtRunTime = new Set([
  'gateway.json',
  'console/api-tokens.json',
  'console/passwords.json',
  'sbom.json',
  '.cdx.json',
  'file.json',
]);

/** The files that a text names, `sealing/hpke.ts` or `hpke.ts`; no addresses, no patterns, no files of the built product. */
function filesIn(prose: string): string[] {
  return [...prose.matchAll(/(?<![\w/.:@*<-])((?:[\w.-]+\/)*[\w.-]+\.(?:ts|md|json))(?![\w/*-])/g)]
    .map(([, name = '']) => name)
    .filter((name) => !/^(?:dist|data|node_modules)\//.test(name) && !madeAtRunTime.has(name));
}

it('every file that a comment or a page names is there', () => {
  const missing: string[] = [];
  for (const path of files.filter((name) => /\.(?:ts|md)$/.test(name) && name !== 'CHANGELOG.md'))
    for (const prose of proseOf(path, readFileSync(join(root, path), 'utf8')))
      for (const name of filesIn(prose)) {
        const there = name.includes('/')
          ? paths.has(normalize(name)) || paths.has(join(dirname(path), name))
          : names.has(name);
        if (!there) missing.push(`${path} names ${name}`);
      }
  expect(missing).toEqual([]);
});

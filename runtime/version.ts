import { existsSync, readFileSync } from 'node:fs';

/**
 * Version of package.json, and the commit that the image was built from, or an empty text. package.json is one folder up from the source,
 * and two from the compiled program; the image has a file `revision` beside it.
 */
export function packageVersion(): { readonly version: string; readonly revision: string } {
  const { version } = JSON.parse(read('package.json') || '{"version":"0"}') as { version: string };
  return { version, revision: read('revision').trim() };
}

/** `0.1.0`, and in an image whose build was told the commit `0.1.0 (4851c71…)`. */
export function productVersion(): string {
  const { version, revision } = packageVersion();
  return revision === '' ? version : `${version} (${revision})`;
}

function read(name: string): string {
  const files = [`../${name}`, `../../${name}`].map((path) => new URL(path, import.meta.url));
  const file = files.find((each) => existsSync(each));
  return file === undefined ? '' : readFileSync(file, 'utf8');
}

import { existsSync, readFileSync } from 'node:fs';

/**
 * `0.1.0`, and in an image whose build was told the commit `0.1.0 (4851c71…)`. package.json is one folder up from the source,
 * and two from the compiled program; the image has a file `revision` beside it.
 */
export function productVersion(): string {
  const read = (name: string) => {
    const files = [`../${name}`, `../../${name}`].map((path) => new URL(path, import.meta.url));
    const file = files.find((each) => existsSync(each));
    return file === undefined ? '' : readFileSync(file, 'utf8');
  };
  const { version } = JSON.parse(read('package.json') || '{"version":"0"}') as { version: string };
  const revision = read('revision').trim();
  return revision === '' ? version : `${version} (${revision})`;
}

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';

type Component = {
  readonly name: string;
  readonly version: string;
  readonly purl: string;
  readonly licenses?: readonly object[];
  readonly hashes?: readonly object[];
};
type Bom = {
  readonly bomFormat: string;
  readonly specVersion: string;
  readonly serialNumber: string;
  readonly metadata: { readonly component: { readonly name: string; readonly version: string; readonly type: string } };
  readonly components: readonly Component[];
  readonly dependencies: readonly { readonly ref: string }[];
};
type Lock = { readonly packages: Readonly<Record<string, { readonly version: string; readonly dev?: boolean }>> };
const read = (file: string) => JSON.parse(readFileSync(file, 'utf8')) as unknown;

it('the SBOM is CycloneDX and has each package that is shipped once, with licence and hash, and none that is not', () => {
  const folder = mkdtempSync(join(tmpdir(), 'cvm-sbom-'));
  try {
    const file = join(folder, 'sbom.json');
    execFileSync(process.execPath, ['release/sbom.js', file]);
    const bom = read(file) as Bom;
    const { name, version } = read('package.json') as { name: string; version: string };
    expect(bom).toMatchObject({
      bomFormat: 'CycloneDX',
      specVersion: expect.stringMatching(/^1\.\d$/),
      serialNumber: expect.stringMatching(/^urn:uuid:/),
      metadata: { component: { name, version, type: 'application', purl: `pkg:npm/${name}@${version}` } },
    });
    const { packages } = read('package-lock.json') as Lock;
    const shipped = Object.entries(packages)
      .filter(([path, { dev }]) => path !== '' && !dev)
      .map(
        ([path, each]) => `${path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length)}@${each.version}`,
      );
    expect(bom.components.map((each) => `${each.name}@${each.version}`).sort()).toEqual([...new Set(shipped)].sort());
    const isVague = ({ licenses = [], hashes = [], purl }: Component) =>
      licenses.length === 0 || hashes.length === 0 || !purl.startsWith('pkg:npm/');
    expect(bom.components.filter(isVague)).toEqual([]);
    expect(bom.dependencies.length).toBe(bom.components.length + 1);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

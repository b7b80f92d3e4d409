import { readFileSync, writeFileSync } from 'node:fs';
import { expect, it } from 'vitest';

type Package = { readonly version?: string; readonly license?: string; readonly dev?: boolean };

const { packages } = JSON.parse(readFileSync('package-lock.json', 'utf8')) as { packages: Record<string, Package> };
const shipped = Object.entries(packages)
  .filter(([path, { dev }]) => path !== '' && !dev)
  .map(([path, { version = '', license = 'none named' }]) => ({
    name: path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length),
    version,
    license,
  }))
  .sort((a, b) => a.name.localeCompare(b.name, 'en') || a.version.localeCompare(b.version, 'en'));

/** They ask for their notice to be kept, and for nothing of the code that uses them. */
const permissive = ['0BSD', 'Apache-2.0', 'BSD-2-Clause', 'BSD-3-Clause', 'ISC', 'MIT'];

it('no package that is shipped has a licence that asks for more than its notice', () => {
  expect(shipped.filter(({ license }) => !permissive.includes(license))).toEqual([]);
  expect(shipped.length).toBeGreaterThan(50);
});

it('docs/licences.md lists every package that is shipped (npm run licences writes it)', () => {
  const rows = new Set(shipped.map(({ name, version, license }) => `| ${name} | ${version} | ${license} |`));
  const head = [
    '# Licences',
    '',
    'The packages that the gateway is shipped with, each with its licence; cvm-gateway itself: Apache-2.0. An SBOM (CycloneDX): `npm run sbom`.',
    '',
    '*Written from package-lock.json: `npm run licences`.*',
    '',
    '| package | version | licence |',
    '| --- | --- | --- |',
  ];
  const page = `${[...head, ...rows].join('\n')}\n`;
  if (process.env.LICENCES === 'write') writeFileSync('docs/licences.md', page);
  expect(readFileSync('docs/licences.md', 'utf8')).toBe(page);
});

// `npm run package`: writes what a release has into release/out/: the package for `npm install --global`, its SBOM, and their checksums.
//
// A global install goes by no lock file, no npm-shrinkwrap.json (https://github.com/npm/cli/issues/7035) and no `overrides`, so a package of
// `npm pack` alone brings other versions than those that were tested. Hence what ours needs is bundled: the versions of package-lock.json,
// and nothing is fetched.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { writeSbom } from './sbom.js';

const root = resolve(import.meta.dirname, '..');
const out = resolve(process.argv[2] ?? join(import.meta.dirname, 'out'));
const read = (name) => JSON.parse(readFileSync(join(root, name), 'utf8'));

/** Nothing of these is used at run time. Licences stay, also those that are Markdown. */
const isUseless = (name) =>
  /\.(map|[cm]?ts|tsbuildinfo|md|markdown)$/.test(name) && !/^(licen[cs]e|notice|copying|authors)/i.test(name);

/** Optional packages are compiled for one platform each; the product is tested to work without them. */
const isShipped = ([path, { dev, optional, devOptional }]) => path !== '' && !dev && !optional && !devOptional;

function copyOwnFiles(staged) {
  const argv = ['pack', '--dry-run', '--json', '--silent', '--ignore-scripts'];
  const [{ files }] = JSON.parse(execFileSync('npm', argv, { cwd: root, encoding: 'utf8' }));
  for (const { path } of files) cpSync(join(root, path), join(staged, path));
  const { devDependencies, overrides, scripts, private: _, ...manifest } = read('package.json');
  const bundled = { ...manifest, bundleDependencies: Object.keys(manifest.dependencies) };
  writeFileSync(join(staged, 'package.json'), `${JSON.stringify(bundled, null, 2)}\n`);
}

function copyDependencies(staged) {
  for (const [path, { version }] of Object.entries(read('package-lock.json').packages).filter(isShipped)) {
    const folder = join(root, path);
    const installed = existsSync(folder) ? read(join(path, 'package.json')).version : 'missing';
    if (installed !== version)
      throw new Error(`${path} is ${installed}, and package-lock.json says ${version}: run npm ci, and this again`);
    cpSync(folder, join(staged, path), {
      recursive: true,
      filter: (from) => basename(from) !== 'node_modules' && !isUseless(basename(from)),
    });
  }
}

function writeTogether(staged, file) {
  // owner, order and times are always the same, so that two builds of a commit can be compared
  const same = ['--sort=name', '--owner=0', '--group=0', '--numeric-owner', '--mtime=@0', '--mode=u=rwX,go=rX'];
  const tar = execFileSync('tar', [...same, '--transform=s,^\\.,package,', '-cf', '-', '.'], {
    cwd: staged,
    maxBuffer: 1024 ** 3,
  });
  writeFileSync(file, execFileSync('gzip', ['-n'], { input: tar, maxBuffer: 1024 ** 3 }));
}

const { name, version } = read('package.json');
if (!existsSync(join(root, 'dist/cli/cvm.js'))) throw new Error('there is no dist/: run npm run build first');
const scratch = mkdtempSync(join(tmpdir(), 'cvm-package-'));
try {
  mkdirSync(out, { recursive: true });
  copyOwnFiles(scratch);
  copyDependencies(scratch);
  writeTogether(scratch, join(out, `${name}-${version}.tgz`));
} finally {
  rmSync(scratch, { recursive: true, force: true });
}
writeSbom(join(out, `${name}-${version}.cdx.json`));
const written = [`${name}-${version}.tgz`, `${name}-${version}.cdx.json`];
const sumOf = (file) =>
  createHash('sha256')
    .update(readFileSync(join(out, file)))
    .digest('hex');
writeFileSync(join(out, 'SHA256SUMS'), written.map((file) => `${sumOf(file)}  ${file}\n`).join(''));
for (const file of [...written, 'SHA256SUMS']) console.log(join(out, file));

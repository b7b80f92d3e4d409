// `npm run sbom`: writes an SBOM of what is shipped (CycloneDX), for the package and the image alike.
//
// npm makes it, of a lock file that has the shipped packages alone: `npm sbom --omit dev` over the whole checkout also leaves out each package
// that a tool for development needs as well, commander and zod among them.
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');
const read = (name) => JSON.parse(readFileSync(join(root, name), 'utf8'));

export function writeSbom(file) {
  const { devDependencies, scripts, ...manifest } = read('package.json');
  const { packages, ...lock } = read('package-lock.json');
  const shipped = Object.fromEntries(Object.entries(packages).filter(([, { dev }]) => !dev));
  const { devDependencies: _, ...own } = shipped[''];
  const scratch = mkdtempSync(join(tmpdir(), 'cvm-sbom-'));
  // npm names the product after its folder
  const folder = join(scratch, manifest.name);
  try {
    mkdirSync(folder);
    writeFileSync(join(folder, 'package.json'), JSON.stringify(manifest));
    writeFileSync(join(folder, 'package-lock.json'), JSON.stringify({ ...lock, packages: { ...shipped, '': own } }));
    const argv = ['sbom', '--package-lock-only', '--sbom-format=cyclonedx', '--sbom-type=application'];
    writeFileSync(file, execFileSync('npm', argv, { cwd: folder, encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 }));
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

if (process.argv[1] === import.meta.filename) writeSbom(process.argv[2] ?? 'sbom.json');

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { lacks } from './lacks.ts';

export const exampleC = join(import.meta.dirname, '../../examples/c');

/** Whether C cannot be compiled here. */
export const lacksC = (): boolean => lacks('gcc') || lacks('make');

/** Whether a program with mbedTLS cannot be built here. */
export const lacksMbedtls = (): boolean => lacksC() || lacks('mbedtls/ssl.h');

/** A folder for what is built, which is removed with `remove`. */
export function buildFolder() {
  const path = mkdtempSync(join(tmpdir(), 'cvm-c-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Runs the Makefile of the example. @returns its output @throws with it where it fails */
export function make(folder: string, ...argv: readonly string[]): string {
  mkdirSync(folder, { recursive: true });
  const { status, stdout, stderr } = spawnSync('make', ['-s', '-C', exampleC, `OUT=${folder}`, ...argv], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`make ended with status ${status}:\n${stdout}${stderr}`);
  return stdout;
}

/** What every C file here is compiled with. */
export const strict = ['-std=c99', '-pedantic', '-Wall', '-Wextra', '-Werror', `-I${exampleC}`];

/** Compiles and links a program. @throws with what the compiler says */
export function compile(program: string, argv: readonly string[]): string {
  execFileSync('gcc', [...strict, ...argv, '-o', program], { stdio: 'pipe' });
  return program;
}

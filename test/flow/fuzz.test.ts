import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import type { Figure } from '../chaos/figures.ts';
import { sized } from '../support/size.ts';

const fuzz = join(import.meta.dirname, '../../dist/test/fuzz/main.js');

/** The short run; `npm run fuzz -- --cases 1000000` is the long one. */
it('a broker that receives mutated packets, requests and CSRs goes on serving', { timeout: 300_000 }, async () => {
  const { stdout } = await promisify(execFile)(process.execPath, [
    '--expose-gc',
    fuzz,
    ...['--seed', '1', '--cases', String(sized(20_000)), '--json'],
    // if the status is 1, the figures say why
  ]).catch((failed: { stdout: string }) => failed);
  expect((JSON.parse(stdout) as Figure[]).filter(({ holds }) => !holds)).toEqual([]);
});

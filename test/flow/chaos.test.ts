import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import type { Figure } from '../chaos/figures.ts';
import { lacks } from '../support/lacks.ts';
import { sized } from '../support/size.ts';

const chaos = join(import.meta.dirname, '../../dist/test/chaos/main.js');

/** The short run; `npm run chaos` is the long one. */
describe.skipIf(lacks('redis-server'))('a site whose parts are killed while AWS fails', () => {
  it('loses no request, vends no second certificate and leaves nothing behind', { timeout: 300_000 }, async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [
      chaos,
      ...[
        '--parts',
        'storm',
        '--seed',
        '7',
        '--devices',
        String(sized(24, 8)),
        '--kills',
        String(sized(8, 3)),
        '--json',
      ],
    ]);
    const figures = JSON.parse(stdout) as Figure[];
    expect(figures.filter(({ holds }) => !holds)).toEqual([]);
    expect(figures.map(({ name }) => name)).toContain('duplicates');
  });
});

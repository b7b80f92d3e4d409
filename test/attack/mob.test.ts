import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import type { Figure } from '../chaos/figures.ts';
import { lacks } from '../support/lacks.ts';
import { sized } from '../support/size.ts';

const security = join(import.meta.dirname, '../../dist/test/security/main.js');

/** The short run; `npm run security -- --parts mob` is the long one, which also judges how long honest devices wait. */
it.skipIf(lacks('redis-server'))(
  '500 attackers of all kinds at once, and five that flood, do not end the broker, stop the service of honest devices or fill the memory',
  { timeout: 300_000 },
  async () => {
    const args = [
      '--expose-gc',
      security,
      '--parts',
      'mob',
      '--seconds',
      String(sized(15, 4)),
      '--slots',
      '1000',
      '--json',
    ];
    const { stdout } = await promisify(execFile)(process.execPath, args).catch((error: { stdout: string }) => error);
    const figures = JSON.parse(stdout) as Figure[];
    const failed = figures.filter(({ name, holds }) => !holds && !/^(p99|CPU of the machine)/.test(name));
    expect(figures.length).toBeGreaterThan(3);
    expect(failed).toEqual([]);
  },
);

import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import type { Figure } from '../chaos/figures.ts';
import { lacks } from '../support/lacks.ts';
import { sized } from '../support/size.ts';

const security = join(import.meta.dirname, '../../dist/test/security/main.js');

/** Each from its own address; half as many as the broker has slots. */
const attackers = sized(500, 150);

/** The short run; `npm run security -- --parts mob` is the long one, which also judges how long honest devices wait. */
it.skipIf(lacks('redis-server'))(
  `${attackers} attackers of all kinds at once, and five that flood, do not end the broker, stop the service of honest devices or fill the memory`,
  { timeout: 300_000 },
  async () => {
    const args = [
      '--expose-gc',
      security,
      '--parts',
      'mob',
      '--seconds',
      String(sized(15, 3)),
      // the rounds are for how long honest devices wait
      '--rounds',
      String(sized(3, 1)),
      '--attackers',
      String(attackers),
      '--slots',
      String(2 * attackers),
      '--json',
    ];
    const { stdout } = await promisify(execFile)(process.execPath, args).catch((error: { stdout: string }) => error);
    const figures = JSON.parse(stdout) as Figure[];
    const failed = figures.filter(({ name, holds }) => !holds && !/^(p99|CPU of the machine)/.test(name));
    expect(figures.length).toBeGreaterThan(3);
    expect(failed).toEqual([]);
  },
);

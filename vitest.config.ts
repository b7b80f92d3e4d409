import { join } from 'node:path';
import { defineConfig } from 'vitest/config';
import { LongestFirst } from './test/support/sequencer.ts';

/** The product is loaded once for all of them: to load it for each file would cost two seconds of CPU, more than the tests of most do. */
const shared = 'test/{unit,contract,flow,attack}/**/*.test.ts';

/**
 * Except those that mock a module of Node, which the product has loaded already where another file ran before, and those that measure the
 * heap: others leave garbage there.
 */
const alone = [
  'attack/announced-length',
  'unit/audit-full-disk',
  'unit/flood-limit',
  'unit/heap-growth',
  'unit/site-ca-killed',
  'unit/token-file',
].map((name) => `test/${name}.test.ts`);

const common = {
  // the AWS stand-ins of all test files share their RSA key pairs, which cost up to 200 ms of CPU each
  env: { STAND_IN_KEY_FOLDER: join(import.meta.dirname, '.cache/stand-in-keys') },
  testTimeout: 180_000,
  hookTimeout: 180_000,
  // vitest's second is short for a busy machine, and no test measures how long it waits
  expect: { poll: { timeout: 45_000 } },
  pool: 'forks',
} as const;

export default defineConfig({
  test: {
    globalSetup: ['test/support/system-packages.ts', 'test/support/least-privilege.ts'],
    sequence: { sequencer: LongestFirst },
    // one more than the two cores of the machine that this is tuned for: many tests wait for a process or a time limit
    maxWorkers: 3,
    projects: [
      {
        test: {
          ...common,
          name: 'own process',
          include: ['test/{model,browser}/**/*.test.ts', ...alone],
        },
      },
      {
        test: {
          ...common,
          name: 'shared process',
          include: [shared],
          exclude: alone,
          isolate: false,
          setupFiles: ['test/support/leave-as-found.ts'],
        },
      },
    ],
  },
});

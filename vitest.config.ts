import { join } from 'node:path';
import { defineConfig } from 'vitest/config';
import { LongestFirst } from './test/support/sequencer.ts';

export default defineConfig({
  test: {
    include: ['test/{unit,contract,flow,model,attack,browser}/**/*.test.ts'],
    globalSetup: ['test/support/system-packages.ts', 'test/support/least-privilege.ts'],
    // the AWS stand-ins of all test files share their RSA key pairs, which cost up to 200 ms of CPU each
    env: { STAND_IN_KEY_FOLDER: join(import.meta.dirname, '.cache/stand-in-keys') },
    sequence: { sequencer: LongestFirst },
    testTimeout: 60_000,
    hookTimeout: 60_000,
    pool: 'forks',
    // one more than the two cores of the machine that this is tuned for: many tests wait for a process or a time limit
    maxWorkers: 3,
  },
});

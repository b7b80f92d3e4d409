import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/{unit,contract,flow,model,attack}/**/*.test.ts'],
    globalSetup: ['test/support/system-packages.ts', 'test/support/least-privilege.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    pool: 'forks',
    maxWorkers: 2,
  },
});

import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/compose/**/*.test.ts'],
    globalSetup: 'test/compose/build-image.ts',
    testTimeout: 300_000,
    hookTimeout: 900_000,
    pool: 'forks',
    // each file has a stack of its own
    fileParallelism: false,
  },
});

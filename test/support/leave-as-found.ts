import { afterAll, vi } from 'vitest';

// The next test file runs in the same process: it shall find clocks, functions and variables as this one found them.
const { exitCode } = process;
afterAll(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllEnvs();
  vi.unstubAllGlobals();
  process.exitCode = exitCode;
});

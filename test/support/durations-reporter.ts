import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Reporter, TestModule } from 'vitest/node';

export const durationsFile = join(import.meta.dirname, 'durations.json');

/** `npm run test:durations` writes down how many seconds each test file took, if it was a second or more. */
export default class DurationsReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const measured = modules
      .map((module) => [module.relativeModuleId, Math.round(secondsOf(module))] as const)
      .filter(([, seconds]) => seconds >= 1)
      .sort(([a, left], [b, right]) => right - left || a.localeCompare(b));
    writeFileSync(durationsFile, `${JSON.stringify(Object.fromEntries(measured), null, 2)}\n`);
  }
}

function secondsOf(module: TestModule): number {
  const { environmentSetupDuration, prepareDuration, setupDuration, collectDuration, duration } = module.diagnostic();
  return (environmentSetupDuration + prepareDuration + setupDuration + collectDuration + duration) / 1000;
}

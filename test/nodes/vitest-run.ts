import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readFileSync, rmSync } from 'node:fs';
import { delimiter, join } from 'node:path';

export type Outcome = {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** the titles of failed tests, and files that could not be run */
  readonly failures: readonly string[];
  /** Vitest's own verdict: errors outside of tests count, too */
  readonly ok: boolean;
};

/** Runs Vitest with the Node in the folder `bin`. Its report and its output are written to `<report>.json` and `.log`. */
export async function runVitest(root: string, bin: string, paths: readonly string[], report: string): Promise<Outcome> {
  const [json, log] = [`${report}.json`, `${report}.log`];
  rmSync(json, { force: true });
  const output = openSync(log, 'w');
  const argv = ['run', '--reporter=default', '--reporter=json', `--outputFile.json=${json}`, ...paths];
  const child = spawn(join(bin, 'node'), [join(root, 'node_modules/vitest/vitest.mjs'), ...argv], {
    cwd: root,
    env: { ...process.env, PATH: `${bin}${delimiter}${process.env.PATH ?? ''}` },
    stdio: ['ignore', output, output],
  });
  const status = await new Promise<number | null>((resolve, reject) =>
    child.once('error', reject).once('exit', resolve),
  );
  closeSync(output);
  return existsSync(json)
    ? summarize(JSON.parse(readFileSync(json, 'utf8')), status === 0)
    : { passed: 0, failed: 0, skipped: 0, failures: [], ok: false };
}

/** The part of Vitest's JSON report that is read here. */
type Report = {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly assertionResults: readonly { readonly status: string; readonly fullName: string }[];
  }[];
};

function summarize(report: Report, ok: boolean): Outcome {
  const failures = report.testResults.flatMap(({ name, status, assertionResults }) => {
    const failed = assertionResults.filter((test) => test.status === 'failed').map((test) => test.fullName);
    return status === 'failed' && failed.length === 0 ? [name] : failed;
  });
  const { numPassedTests: passed, numFailedTests: failed, numPendingTests: skipped } = report;
  return { passed, failed, skipped, failures, ok };
}

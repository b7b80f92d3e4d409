import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { lacks } from '../support/lacks.ts';
import { isolated, type Run, runCvm } from '../support/program.ts';

/**
 * The pages whose lines an operator types at a gateway that runs. Other pages: compose has tests of its own (`npm run test:compose`),
 * docs/protocol.md and examples/ too; docs/verification.md and CONTRIBUTING.md name whole suites; docs/aws.md needs an account.
 */
const pages = ['README.md', 'docs/enrolling.md', 'docs/explain.md', 'docs/status.md', 'docs/doctor.md'];

/** What is not run here, and why. */
const notRun: readonly (readonly [pattern: RegExp, why: string])[] = [
  [/^npm /, 'installs, builds or tests everything: .ci/run does it, and quick-start.test.ts what npm start runs'],
  [/^(?:docker|export COMPOSE|unset COMPOSE|cp \.env)/, 'needs a container engine: npm run test:compose'],
  [/^alias cvm=/, 'a shell that is no terminal expands no alias; the test has a program of that name'],
  [/--watch/, 'does not end'],
  [/--fix/, 'mends the machine that it runs on'],
];

/** Lines that end with status 1 here, which says that something is wrong: the devices never asked, and the machine may lack memory or time. */
const mayFail = /^cvm (?:explain|doctor|status)/;

const linesOf = (page: string): string[] =>
  [...readFileSync(page, 'utf8').matchAll(/^```sh\n([\s\S]*?)^```/gm)]
    .flatMap(([, block = '']) => block.split('\n'))
    .map((line) => line.replace(/\s+#.*$/, '').trim())
    .filter((line) => line !== '');

describe.skipIf(lacks('redis-server'))('the lines of the pages', () => {
  const root = mkdtempSync(join(tmpdir(), 'cvm-lines-'));
  const dataDir = join(root, 'data');
  const env = { ...isolated(dataDir), PATH: `${root}:${process.env.PATH}` };
  let gateway: Run;
  beforeAll(async () => {
    mkdirSync(dataDir, { mode: 0o700 });
    const cvm = join(import.meta.dirname, '../../dist/cli/cvm.js');
    writeFileSync(join(root, 'cvm'), `#!/bin/sh\nexec "${process.execPath}" "${cvm}" "$@"\n`, { mode: 0o755 });
    writeFileSync(join(root, 'devices.csv'), 'serial,site\nPUMP-1,plant-7\nPUMP-2,plant-7\n');
    gateway = runCvm(['up', '--local-aws'], env);
    await gateway.says(/broker is listening/);
    // which other pages take for granted
    await shell('cvm devices add SN-1 || true');
  });
  afterAll(async () => {
    gateway?.child.kill('SIGTERM');
    await gateway?.ended;
    rmSync(root, { recursive: true, force: true });
  });
  const shell = (line: string) =>
    new Promise<{ code: number; text: string }>((resolve) => {
      execFile('bash', ['-c', line], { env, cwd: root }, (error, stdout, stderr) =>
        resolve({ code: error === null ? 0 : Number(error.code ?? -1), text: `${stdout}${stderr}` }),
      );
    });

  const run = pages.flatMap((page) =>
    linesOf(page).flatMap((line) => (notRun.some(([pattern]) => pattern.test(line)) ? [] : [[page, line] as const])),
  );

  it.each(run)('%s: %s', async (_page, line) => {
    const { code, text } = await shell(line);
    const isEnrolledAlready = /^cvm devices add/.test(line) && text.includes('is enrolled already');
    if (isEnrolledAlready || (code === 1 && mayFail.test(line))) return;
    expect(code, text).toBe(0);
  });
});

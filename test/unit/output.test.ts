import { execFileSync, spawnSync } from 'node:child_process';
import { openSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

/** A process whose standard output is `stdout` runs this with `writeLine` at hand. */
function run(code: string, stdout: number | 'pipe' = 'pipe') {
  const file = JSON.stringify(join(import.meta.dirname, '../../dist/cli/output.js'));
  const script = `import { OutputClosed, writeLine } from ${file};\n${code}`;
  return spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    encoding: 'utf8',
    stdio: ['ignore', stdout, 'pipe'],
  });
}

describe('a line of standard output', () => {
  it('is written as a whole, also to a slow reader', () => {
    const length = 300_000;
    const script = JSON.stringify(join(import.meta.dirname, '../../dist/cli/output.js'));
    const program = `import { writeLine } from ${script}; process.stdout._handle?.setBlocking?.(false); for (const one of 'abc') writeLine(one.repeat(${length}))`;
    const shell = `"$0" --input-type=module -e "$1" | { sleep 0.3; wc -c; }`;
    expect(Number(execFileSync('sh', ['-c', shell, process.execPath, program], { encoding: 'utf8' }))).toBe(
      3 * (length + 1),
    );
  });

  it('that cannot be written is an error with its cause', () => {
    const { status, stderr } = run(
      "try { writeLine('x') } catch (error) { console.error(error.message); process.exitCode = 1 }",
      openSync('/dev/full', 'w'),
    );
    expect(stderr).toMatch(/standard output cannot be written: ENOSPC/);
    expect(status).toBe(1);
  });

  it('tells a reader that has gone from a failure', () => {
    const { stderr } = spawnSync(
      'sh',
      [
        '-c',
        '"$0" --input-type=module -e "$1" | true',
        process.execPath,
        `import { OutputClosed, writeLine } from ${JSON.stringify(join(import.meta.dirname, '../../dist/cli/output.js'))};
        setTimeout(() => { try { writeLine('x') } catch (error) { console.error(error instanceof OutputClosed) } }, 300)`,
      ],
      { encoding: 'utf8' },
    );
    expect(stderr.trim()).toBe('true');
  });
});

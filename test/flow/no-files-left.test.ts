import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, it } from 'vitest';

const file = (path: string) => JSON.stringify(join(import.meta.dirname, '../..', path));

/** A command that opens files until no more can be opened, and then throws outside of any promise. */
const program = `
import { openSync } from 'node:fs';
import { Command } from ${file('node_modules/commander/esm.mjs')};
import { main } from ${file('dist/cli/program.js')};
const leak = () => {
  try { for (;;) openSync('/dev/null'); } catch {}
  setTimeout(() => { throw new Error('the first fault'); }, 10);
  return new Promise((resolve) => setTimeout(resolve, 5000));
};
await main(new Command('cvm'), {
  argv: ['node', 'cvm', 'leak'],
  commands: [{ name: 'leak', description: '', load: async () => new Command('leak').action(leak) }],
  context: async () => ({}), withStack: () => false, close: async () => {},
});`;

it('a process all of whose files are open says which fault it met, and ends, so that it can be started again', async () => {
  // Node.js opens many files of the program at once while it loads them, so that a hundred may be too few
  const child = spawn(
    'sh',
    ['-c', 'ulimit -n 256 && exec "$0" "$@"', process.execPath, '--input-type=module', '-e', program],
    { stdio: ['ignore', 'ignore', 'pipe'], timeout: 60_000, killSignal: 'SIGKILL' },
  );
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString();
  });
  const [status] = await once(child, 'close');
  expect(said).toContain('why: the first fault');
  expect(status).toBe(1);
});

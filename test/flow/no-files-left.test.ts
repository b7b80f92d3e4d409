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
  // enough to load the program, also where the process of the tests leaves it many open files: LevelDB lets programs inherit its own
  const child = spawn(
    'sh',
    ['-c', 'ulimit -n 4096 && exec "$0" "$@"', process.execPath, '--input-type=module', '-e', program],
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

/** What starts programs, when no file is left for it. It prints how each ended. */
const starts = {
  'the program of a device under certification': `
const { startDeviceProgram } = await import(${file('dist/certify/device-program.js')});
const { Observation } = await import(${file('dist/certify/observation.js')});
const observation = new Observation(() => 0);
const run = () => {
  const program = startDeviceProgram('true', { env: process.env, folder: '/', observation, restart: false, secrets: [] });
  return new Promise((resolve) => setTimeout(() => resolve(program.stop()), 50));
};`,
  'the reference of a simulation': `
const { measureTls: measure } = await import(${file('dist/gateway-sim/tls-reference.js')});
const run = () => measure(2);`,
  'a package manager': `
const { ensureCommand } = await import(${file('dist/runtime/system-packages.js')});
const find = (name) => (name === 'apt-get' ? '/usr/bin/apt-get' : undefined);
const run = () => ensureCommand('mosquitto', { env: process.env, write() {}, find, root: true });`,
};

it.each(Object.entries(starts))('%s, started when no file is left, ends nothing but itself', async (_what, given) => {
  const started = `
import { closeSync, openSync } from 'node:fs';
${given}
const held = [];
try { for (;;) held.push(openSync('/dev/null')); } catch {}
const outcome = await run().then(() => 'ended', (error) => error.code);
for (const each of held) closeSync(each);
console.log(outcome);`;
  const child = spawn(
    'sh',
    ['-c', 'ulimit -n 4096 && exec "$0" "$@"', process.execPath, '--input-type=module', '-e', started],
    { stdio: ['ignore', 'pipe', 'pipe'], timeout: 60_000, killSignal: 'SIGKILL' },
  );
  let said = '';
  for (const stream of [child.stdout, child.stderr])
    stream.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
  const [status] = await once(child, 'close');
  expect(said).toMatch(/^(ended|EMFILE)\n$/);
  expect(status).toBe(0);
});

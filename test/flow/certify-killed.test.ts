import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';

const dist = join(import.meta.dirname, '../../dist/certify');

/** Starts a device program as `cvm certify` does, and nothing else. */
const starter = `
import { startDeviceProgram } from '${dist}/device-program.js';
import { Observation } from '${dist}/observation.js';
const [command, folder] = process.argv.slice(1);
const observation = new Observation(() => 0);
startDeviceProgram(command, { env: process.env, folder, observation, restart: false, secrets: [] });
setInterval(() => {}, 1000);
`;

const isRunning = (pid: number): boolean => {
  try {
    return readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.[0] !== 'Z';
  } catch {
    return false;
  }
};

describe.skipIf(process.platform !== 'linux')('a device program', () => {
  const folder = mkdtempSync(join(tmpdir(), 'cvm-certify-killed-'));
  afterAll(() => {
    for (const pid of [...pidsIn('pids'), ...pidsIn('left')]) if (isRunning(pid)) process.kill(pid, 'SIGKILL');
    rmSync(folder, { recursive: true, force: true });
  });
  const pidsIn = (file: string) => {
    try {
      // the shell makes the file before it writes: an id counts when its line has ended
      return readFileSync(join(folder, file), 'utf8').split('\n').slice(0, -1).map(Number);
    } catch {
      return [];
    }
  };

  it('does not stay behind, nor what it has started, when cvm is killed hard', async () => {
    const command = 'sleep 600 & echo $! > pids; echo $$ >> pids; wait';
    const cvm = spawn(process.execPath, ['--input-type=module', '-e', starter, '--', command, folder]);
    await expect.poll(() => pidsIn('pids').length).toBe(2);
    const pids = pidsIn('pids');
    expect(pids.every(isRunning)).toBe(true);
    cvm.kill('SIGKILL');
    await expect.poll(() => pids.some(isRunning)).toBe(false);
  });

  it('may end and leave something running, as a device whose update goes on', async () => {
    const command = 'sleep 600 & echo $! > left; exit 0';
    const cvm = spawn(process.execPath, ['--input-type=module', '-e', starter, '--', command, folder]);
    await expect.poll(() => pidsIn('left').length).toBe(1);
    const [pid = 0] = pidsIn('left');
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(isRunning(pid)).toBe(true);
    process.kill(pid, 'SIGKILL');
    cvm.kill('SIGKILL');
  });
});

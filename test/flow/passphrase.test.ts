import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loadGateway } from '../../site-tls/gateway-key.ts';
import { lacks } from '../support/lacks.ts';
import { isolated } from '../support/program.ts';

const cvm = join(import.meta.dirname, '../../dist/cli/cvm.js');
const passphrase = 'five words at random here';
const enter = '\r';

/** `script` of util-linux gives a program a terminal. */
describe.skipIf(lacks('script'))('the passphrase of a backup, asked for at a terminal', () => {
  let folder: string;
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-typed-'));
    await loadGateway(folder);
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  /** @param keys what is typed, each when its text is on the screen; `undefined`: the terminal is closed */
  function type(command: string, keys: readonly (readonly [after: string, keys: string | undefined])[]) {
    const shell = `'${process.execPath}' '${cvm}' ${command}`;
    const child = spawn('script', ['--quiet', '--return', '--command', shell, '/dev/null'], {
      cwd: folder,
      env: { ...isolated(folder), TERM: 'xterm', SHELL: '/bin/sh' },
    });
    let screen = '';
    let [next, ...later] = keys;
    const look = () => {
      while (next !== undefined && screen.includes(next[0])) {
        if (next[1] === undefined) child.stdin.end();
        else child.stdin.write(next[1]);
        [next, ...later] = later;
      }
    };
    child.stdout.on('data', (chunk: Buffer) => {
      screen += chunk.toString();
      look();
    });
    return new Promise<{ status: number | null; screen: string }>((resolve) =>
      child.once('close', (status) => resolve({ status, screen })),
    );
  }
  const backup = (first: string, second: string) =>
    type('backup typed.cvm', [
      ['Passphrase of the backup: ', first],
      ['The same again: ', second],
    ]);
  const opens = (typed: string) => {
    writeFileSync(join(folder, 'passphrase'), typed);
    return type('restore --check typed.cvm --passphrase-file passphrase', []);
  };

  it('is not shown, seals the backup, and opens it', async () => {
    const made = await backup(passphrase + enter, passphrase + enter);
    expect(made).toMatchObject({ status: 0, screen: expect.stringContaining('sealed') });
    expect(made.screen).not.toContain('five');
    const asked = await type('restore --check typed.cvm', [['Passphrase of the backup: ', passphrase + enter]]);
    expect(asked).toMatchObject({ status: 0, screen: expect.stringContaining('whole') });
    expect(asked.screen).not.toContain('The same again');
  });

  it('is what was meant where keys correct it, and arrows do nothing', async () => {
    const corrected = `wrong\u0015fives\u007f words\u001b[D at randon\u0017random here\u001b[3~${enter}`;
    expect(await backup(corrected, passphrase + enter)).toMatchObject({ status: 0 });
    expect(await opens(passphrase)).toMatchObject({ status: 0 });
  });

  it('may be pasted with its line end and its repetition at once, with letters of any language', async () => {
    const pasted = 'Übermut 🔑 schützt Anlagen';
    expect(await backup(`${pasted}\r\n${pasted}\r\n`, '')).toMatchObject({ status: 0 });
    expect(await opens(pasted)).toMatchObject({ status: 0 });
  });

  it('makes no backup where it is short or of few characters, the two differ, Ctrl-C is typed, or the terminal is closed', async () => {
    const rows = [
      [await backup(`short${enter}`, ''), '12 characters or more'],
      [await backup(`121212121212${enter}`, ''), '6 different ones'],
      [await backup(passphrase + enter, `${passphrase}!${enter}`), 'the two passphrases differ'],
      [await backup('five\u0003', ''), 'interrupted: nothing was done'],
    ] as const;
    for (const [{ status, screen }, said] of rows) {
      expect(status).toBe(2);
      expect(screen).toContain(said);
    }
    expect((await type('backup typed.cvm', [['Passphrase of the backup: ', undefined]])).status).not.toBe(0);
    expect(existsSync(join(folder, 'typed.cvm'))).toBe(false);
  });

  it('is not asked for any longer when the terminal is gone, which is said instead of the error of reading it', async () => {
    const said = join(folder, 'said.txt');
    // in a session of its own it gets no signal of the terminal's end
    const shell = `exec setsid --wait '${process.execPath}' '${cvm}' backup file 2> '${said}'`;
    const terminal = spawn('script', ['--quiet', '--return', '--command', shell, '/dev/null'], {
      cwd: folder,
      env: { ...isolated(folder), TERM: 'xterm', SHELL: '/bin/sh' },
    });
    const text = () => (existsSync(said) ? readFileSync(said, 'utf8') : '');
    await expect.poll(text).toContain('Passphrase of the backup');
    terminal.kill('SIGKILL');
    await expect.poll(text).toMatch(/cvm: /);
    expect(text()).toContain('the terminal was closed: nothing was done');
  });
});

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { completionCommand } from '../../cli/completion.ts';

function program(): Command {
  const cvm = new Command('cvm');
  const devices = cvm.command('devices');
  devices
    .command('list')
    .addOption(new Option('--state <state>').choices(['enrolled', 'blocked']))
    .option('--json');
  devices.command('show');
  cvm.command('status');
  return cvm;
}

async function script(shell: string): Promise<string> {
  const lines: string[] = [];
  const command = completionCommand({ program: async () => program(), write: (line) => lines.push(line) });
  await command.parseAsync([shell], { from: 'user' });
  return lines.join('\n');
}

describe('the completion of a shell', () => {
  let folder: string;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-completion-'));
    writeFileSync(join(folder, 'cvm.bash'), await script('bash'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  /** What bash offers for the last of these words. */
  function offered(...words: string[]): string[] {
    const list = words.map((word) => `'${word}'`).join(' ');
    const ask = `. ./cvm.bash; COMP_WORDS=(${list}); COMP_CWORD=${words.length - 1}; _cvm; printf '%s\\n' "\${COMPREPLY[@]}"`;
    const text = execFileSync('bash', ['-c', ask], { cwd: folder, encoding: 'utf8' });
    return text.trim().split('\n').filter(Boolean);
  }

  it.each([
    [
      ['cvm', ''],
      ['devices', 'status'],
    ],
    [['cvm', 'dev'], ['devices']],
    [
      ['cvm', 'devices', ''],
      ['list', 'show'],
    ],
    [['cvm', 'devices', 'list', '--s'], ['--state']],
    [
      ['cvm', 'devices', 'list', '--state', ''],
      ['enrolled', 'blocked'],
    ],
    [['cvm', 'devices', 'list', '--state', 'b'], ['blocked']],
    [
      ['cvm', 'devices', 'list', '--json', '--'],
      ['--state', '--json', '--help'],
    ],
    // a MAC address is three words to bash, and none of them is a command
    [['cvm', 'devices', 'show', 'AA', ':', 'BB', '--j'], []],
    [['cvm', 'devices', 'show', 'AA', ':', 'BB', '-'], ['--help']],
    // files: a name of one is what the command takes
    [['cvm', 'devices', 'show', ''], []],
    [['cvm', 'devices', 'show', 'A'], []],
  ])('in bash offers what fits after %j', (words, fits) => {
    expect(offered(...words)).toEqual(fits);
  });

  it.each(['zsh', 'fish'])('is written for %s with the same words', async (shell) => {
    expect(await script(shell)).toContain("'devices list'");
    expect(await script(shell)).toMatch(/enrolled'? '?blocked/);
  });
});

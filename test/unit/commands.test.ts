import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { commands } from '../../cli/commands.ts';
import { openContext } from '../../cli/context.ts';

const cvm = join(import.meta.dirname, '../../dist/cli/cvm.js');

/** The packages whose code a run of `cvm` has loaded; V8's coverage names every file. */
function packagesLoadedBy(...argv: string[]): string[] {
  const folder = mkdtempSync(join(tmpdir(), 'cvm-loaded-'));
  spawnSync(process.execPath, [cvm, ...argv], { env: { PATH: process.env.PATH, NODE_V8_COVERAGE: folder } });
  const text = readdirSync(folder).map((name) => readFileSync(join(folder, name), 'utf8'));
  rmSync(folder, { recursive: true });
  const names = [...text.join().matchAll(/"url":"file:[^"]*\/node_modules\/((?:@[^/"]+\/)?[^/"]+)/g)];
  return [...new Set(names.map(([, name = '']) => name))];
}

describe('the table of the commands', () => {
  it('calls each as its code does', async () => {
    const context = openContext({});
    for (const { name, load } of commands) expect((await load(async () => context)).name()).toBe(name);
    await context.close();
  });

  it('has a help that names every command with its description, and every subcommand of one', () => {
    const help = (...argv: string[]) => execFileSync(process.execPath, [cvm, ...argv], { encoding: 'utf8' });
    const flat = help('--help').replace(/\s+/g, ' ');
    for (const { name, description } of commands)
      expect(flat).toMatch(new RegExp(` ${name} .*${description.slice(0, 20)}`));
    for (const { description } of commands) expect(flat).toContain(description);
    expect(help('help', 'tls')).toMatch(/rotate-ca .*approve .*forget-gateway/s);
  });

  it.each([
    ['that is well', ['health', '--file', cvm, '--max-age', '9999999999']],
    ['that fails', ['health', '--port', '1']],
  ])('loads for a health check %s nothing but its own code: it runs every few seconds', (_what, argv) => {
    expect(packagesLoadedBy(...argv)).toEqual(['commander']);
  });

  it.each([
    ['of Redis and the queue, for a command that asks AWS alone', ['devices', '--help'], ['ioredis', 'bullmq']],
    ['of the demonstration and the stand-in, for a gateway', ['up', '--help'], ['mqtt', 'dynalite']],
  ])('loads nothing %s', (_what, argv, unneeded) => {
    const loaded = packagesLoadedBy(...argv);
    expect(loaded).toContain('commander');
    expect(loaded.filter((name) => unneeded.includes(name))).toEqual([]);
  });

  it('loads what a command needs when it runs', () => {
    expect(packagesLoadedBy('audit', 'verify')).toEqual(expect.arrayContaining(['commander', 'zod']));
  });
});

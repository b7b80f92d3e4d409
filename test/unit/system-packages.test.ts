import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ensureCommand, findCommand, installCommand, type Run } from '../../runtime/system-packages.ts';
import { needed } from '../support/system-packages.ts';

/** `promtool` comes in one package with it. */
const comesAlong = ['prometheus'];

/** A machine with these programs; installing adds redis-server. */
function machine(programs: string[], options: { sudo?: boolean; works?: boolean } = {}) {
  const ran: string[] = [];
  const run: Run = async (argv) => {
    ran.push(argv.join(' '));
    if (argv.includes('true') && !options.sudo) return { status: 1, output: 'a password is required' };
    if (argv.includes('install') && options.works !== false) programs.push('redis-server');
    return { status: argv.includes('install') && options.works === false ? 100 : 0, output: 'E: no network\n' };
  };
  return {
    ran,
    options: {
      env: {},
      write: () => {},
      run,
      find: (name: string) => (programs.includes(name) ? `/bin/${name}` : undefined),
    },
  };
}

describe('a program that is missing', () => {
  it('is installed by root', async () => {
    const { ran, options } = machine(['apt-get']);
    expect(await ensureCommand('redis-server', { ...options, root: true })).toEqual({ ok: true });
    expect(ran).toEqual(['apt-get update', 'apt-get install -y --no-install-recommends redis-server']);
  });

  it('is installed with all packages that it needs', async () => {
    const { ran, options } = machine(['apt-get']);
    await ensureCommand('python3 paho.mqtt.client cryptography', { ...options, root: true });
    expect(ran.at(-1)).toBe('apt-get install -y --no-install-recommends python3-paho-mqtt python3-cryptography');
  });

  it('is installed through sudo when sudo needs no password', async () => {
    const { ran, options } = machine(['apt-get', 'sudo'], { sudo: true });
    expect(await ensureCommand('redis-server', { ...options, root: false })).toEqual({ ok: true });
    expect(ran.at(-1)).toMatch(/^sudo -n .*apt-get install/);
  });

  it('is left to the user, with the exact command, when sudo needs a password', async () => {
    const { ran, options } = machine(['apt-get', 'sudo']);
    expect(await ensureCommand('redis-server', { ...options, root: false })).toMatchObject({
      ok: false,
      command: 'sudo apt-get update && sudo apt-get install -y --no-install-recommends redis-server',
    });
    expect(ran.filter((line) => line.includes('install'))).toEqual([]);
  });

  it('is reported with the reason when the package manager fails', async () => {
    const { options } = machine(['dnf'], { works: false });
    expect(await ensureCommand('redis-server', { ...options, root: true })).toMatchObject({
      ok: false,
      command: 'sudo dnf install -y redis',
      reason: expect.stringContaining('no network'),
    });
  });

  it('is not installed again when it is on PATH', async () => {
    const { ran, options } = machine(['redis-server']);
    expect(await ensureCommand('redis-server', { ...options, root: true })).toEqual({ ok: true });
    expect(ran).toEqual([]);
  });

  it('is found on PATH only where it may be run', () => {
    expect(findCommand('sh', process.env.PATH ?? '')).toMatch(/\/sh$/);
    expect(findCommand('no-such-program-anywhere', process.env.PATH ?? '')).toBeUndefined();
  });

  it('is named with the command that installs it, and nothing is run', () => {
    const { ran, options } = machine(['apt-get']);
    expect(installCommand('redis-server', options.find)).toBe(
      'sudo apt-get update && sudo apt-get install -y --no-install-recommends redis-server',
    );
    expect(installCommand('redis-server', machine(['brew']).options.find)).toBe('brew install redis');
    expect(installCommand('redis-server', machine([]).options.find)).toBe('install redis-server and put it on PATH');
    expect(ran).toEqual([]);
  });
});

describe('a test that is left out where a program is missing', () => {
  it('is never left out in CI: the set-up installs the program, or fails', () => {
    const folder = join(import.meta.dirname, '..');
    const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'));
    const text = files.map((name) => readFileSync(join(folder, name), 'utf8')).join('\n');
    const lists = [...text.matchAll(/\[([^\]]*)\]\.some\(lacks\)/g)].flatMap(([, list = '']) => list.split(/[', ]+/));
    const names = [...text.matchAll(/\blacks\('([^']+)'\)/g)].map(([, name = '']) => name);
    const modules = [...text.matchAll(/= pythonWith\((.*)\);/g)].flatMap(([, list = '']) => list.split(/[', ]+/));
    const wanted = new Set([...names, ...lists, ...modules].filter((name) => name !== ''));
    const installed = [...needed, ...needed.flatMap((name) => name.split(' ')), ...comesAlong];
    expect([...wanted].filter((name) => !installed.includes(name))).toEqual([]);
    expect(wanted.size).toBeGreaterThan(12);
  });
});

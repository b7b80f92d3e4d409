import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import type { Command } from 'commander';
import { beforeAll, describe, expect, it } from 'vitest';
import { commandReference } from '../../cli/command-reference.ts';
import { commands } from '../../cli/commands.ts';
import { openContext } from '../../cli/context.ts';

const page = 'docs/commands.md';
const pages = ['README.md', ...readdirSync('docs').flatMap((name) => (name.endsWith('.md') ? [`docs/${name}`] : []))];

describe('the pages', () => {
  let program: Command[];
  beforeAll(async () => {
    const context = openContext({});
    program = [];
    for (const { name, description, load } of commands)
      program.push((await load(async () => context)).name(name).description(description));
    await context.close();
  });

  it('docs/commands.md is what the commands say of themselves: npm run reference writes it', () => {
    const text = commandReference(program);
    if (process.env.GOLDEN === 'write') writeFileSync(page, text);
    expect(readFileSync(page, 'utf8')).toBe(text);
  });

  it('name no command and no option that there is not', () => {
    const unknown: string[] = [];
    for (const file of pages.filter((name) => name !== page))
      for (const { line, words } of linesIn(readFileSync(file, 'utf8'))) {
        const fault = faultIn(words, program);
        if (fault !== undefined) unknown.push(`${file}: ${line}: ${fault}`);
      }
    expect(unknown).toEqual([]);
  });

  it('and neither do the cures in the code: one that cannot be typed is none', () => {
    const folders = [
      'app',
      'aws',
      'broker',
      'cli',
      'console',
      'issuer',
      'operator',
      'queue',
      'registry',
      'runtime',
      'site-tls',
      'worker',
    ];
    const files = folders.flatMap((folder) =>
      readdirSync(folder, { recursive: true, encoding: 'utf8' })
        .filter((name) => name.endsWith('.ts') && !name.includes('node_modules'))
        .map((name) => `${folder}/${name}`),
    );
    const calls = files.flatMap((file) =>
      [...readFileSync(file, 'utf8').matchAll(/"cvm ([a-z][^"\n]*)"|: (?:run )?cvm ([a-z][^'"`\n]*)['`]/g)].map(
        ([, quoted, last]) => ({
          file,
          words:
            (quoted ?? last ?? '')
              .split(/[,;()]| and /)[0]
              ?.trim()
              .split(/\s+/) ?? [],
        }),
      ),
    );
    expect(calls.length).toBeGreaterThan(50);
    const unknown = calls.flatMap(({ file, words }) => {
      const fault = faultIn(words, program);
      return fault === undefined ? [] : [`${file}: cvm ${words.join(' ')}: ${fault}`];
    });
    expect(unknown).toEqual([]);
  });
});

/** The calls of cvm in code: lines of blocks, and spans that begin with it. */
function linesIn(text: string): { line: string; words: string[] }[] {
  const blocks = [...text.matchAll(/^ *```sh\n([\s\S]*?)^ *```/gm)].flatMap(([, block = '']) => block.split('\n'));
  const spans = [...text.replace(/^ *```[\s\S]*?^ *```/gm, '').matchAll(/`(cvm [^`\n]+)`/g)].map(
    ([, span = '']) => span,
  );
  return [...blocks, ...spans].flatMap((line) => {
    const call = /(?:^|\s|bin\/)cvm (?:-- )?([^#|;&)]*)/.exec(line);
    return call === null ? [] : [{ line, words: (call[1] ?? '').trim().split(/\s+/) }];
  });
}

function faultIn(words: readonly string[], program: readonly Command[]): string | undefined {
  let below: readonly Command[] = program;
  let [command, isPath]: [Command | undefined, boolean] = [undefined, true];
  for (const word of words) {
    const name = word.replace(/[,.]$/, '');
    if (name.startsWith('-')) {
      // what follows may be its value
      isPath = false;
    }
    if (name.startsWith('--')) {
      const [flag = ''] = name.replace(/\]$/, '').split('=');
      const known = command?.options.some(({ long }) => long === flag) ?? true;
      if (!known && !['--', '--help', '--version'].includes(flag)) return `there is no ${flag}`;
      continue;
    }
    const next = isPath ? below.find((each) => each.name() === name) : undefined;
    if (next === undefined) {
      const isWord = /^[a-z-]+$/.test(name);
      if (command === undefined && isWord && name !== 'help') return `there is no command ${name}`;
      const isGroup = command !== undefined && command.commands.length > 0 && command.registeredArguments.length === 0;
      if (isGroup && isPath && isWord) return `there is no command ${name} of ${command?.name()}`;
      isPath = false;
    } else [command, below] = [next, next.commands];
  }
  return undefined;
}

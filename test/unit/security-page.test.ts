import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const page = readFileSync('docs/security.md', 'utf8');
const named = [...page.matchAll(/`(test\/[\w/.-]+)`/g)].map(([, file = '']) => file);

describe('docs/security.md', () => {
  it('names tests that are there', () => {
    expect(named.filter((file) => !existsSync(file))).toEqual([]);
  });

  it('names every attack that is tested', () => {
    const attacks = readdirSync('test/attack').map((file) => `test/attack/${file}`);
    expect(attacks.filter((file) => !named.includes(file))).toEqual([]);
  });
});

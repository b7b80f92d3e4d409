import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { claimDataFolder } from '../../site-tls/data-format.ts';

describe('a data folder', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-format-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));
  const file = () => join(folder, 'format.json');

  it('without a mark, new or of the release before, is marked and used', () => {
    claimDataFolder(folder);
    claimDataFolder(folder);
    expect(JSON.parse(readFileSync(file(), 'utf8'))).toMatchObject({ format: 1 });
    expect(readdirSync(folder)).toEqual(['format.json']);
  });

  it('that a later version has changed is refused, with the version to run instead, and left as it is', () => {
    writeFileSync(file(), '{"format":2,"by":"9.1.0","more":true}');
    expect(() => claimDataFolder(folder)).toThrow(/has format 2, by cvm 9\.1\.0, and this version .* knows format 1/);
    expect(() => claimDataFolder(folder)).toThrow(
      expect.objectContaining({ cure: expect.stringContaining('run cvm 9.1.0 or newer') }),
    );
    expect(readFileSync(file(), 'utf8')).toContain('more');
  });

  it('with a damaged mark is refused', () => {
    writeFileSync(file(), '{');
    expect(() => claimDataFolder(folder)).toThrow(/is damaged/);
  });
});

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { createKeyPool, keptRsaPairs } from '../../aws-local/key-pool.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cvm-test-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const pairsOf = (standIn: string) => keptRsaPairs(join(folder, 'pairs'), join(folder, standIn));

it('makes a missing key pair once, for all stand-ins that share the folder', async () => {
  const first = await pairsOf('a')();
  expect(first.privateKey).toContain('BEGIN RSA PRIVATE KEY');
  expect(first.publicKey).toContain('BEGIN PUBLIC KEY');
  expect(await pairsOf('b')()).toEqual(first);
});

it('hands out no key pair twice from one stand-in, not even after a restart', async () => {
  mkdirSync(join(folder, 'pairs'));
  for (let index = 0; index < 4; index++)
    writeFileSync(join(folder, 'pairs', `${index}.json`), JSON.stringify({ publicKey: `${index}`, privateKey: '' }));
  const [beforeRestart, afterRestart] = [pairsOf('a'), () => pairsOf('a')()];
  const pairs = [await beforeRestart(), await beforeRestart(), await afterRestart(), await afterRestart()];
  expect(pairs.map(({ publicKey }) => publicKey)).toEqual(['0', '1', '2', '3']);
});

it('makes as many key pairs in advance as it is told, and no more while they are taken', async () => {
  let begun = 0;
  const pool = createKeyPool(3, async () => ({ publicKey: `${begun++}`, privateKey: '' }));
  const early = await pool.take();
  await pool.filled;
  expect([early.publicKey, begun, pool.made()]).toEqual(['0', 3, 3]);
  const later = [await pool.take(), await pool.take(), await pool.take()];
  expect(later.map(({ publicKey }) => publicKey)).toEqual(['1', '2', '3']);
});

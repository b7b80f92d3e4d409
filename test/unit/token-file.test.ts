import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import * as promises from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { openTokenFile } from '../../cli/devices/token-file.ts';

vi.mock('node:fs/promises', async (original) => ({ ...(await original<typeof promises>()) }));

describe('the file for tokens', () => {
  it('is not overwritten when it is there, and the message says what to do', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'cvm-tokens-'));
    const path = join(folder, 'tokens.csv');
    writeFileSync(path, 'serial,token\n');
    await expect(openTokenFile(path, () => {}).add('A', 't')).rejects.toThrow(/exists already.*name another file/);
    rmSync(folder, { recursive: true });
  });

  it.skipIf(!existsSync('/dev/full'))('on a full disk fails the write, and not the process', async () => {
    const { open } = await vi.importActual<typeof promises>('node:fs/promises');
    vi.spyOn(promises, 'open').mockImplementation(() => open('/dev/full', 'w'));
    const uncaught = vi.fn();
    process.on('uncaughtException', uncaught);
    const file = openTokenFile('tokens.csv', () => {});
    await expect(file.add('A', 'a-token')).rejects.toThrow(/ENOSPC/);
    await new Promise((resolve) => setTimeout(resolve, 20));
    process.off('uncaughtException', uncaught);
    expect(uncaught).not.toHaveBeenCalled();
    vi.restoreAllMocks();
  });
});

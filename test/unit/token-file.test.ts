import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import * as promises from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { openTokenFile } from '../../cli/devices/token-file.ts';

vi.mock('node:fs/promises', async (original) => ({ ...(await original<typeof promises>()) }));

function fileWith(content: string, mode = 0o600) {
  const folder = mkdtempSync(join(tmpdir(), 'cvm-tokens-'));
  const path = join(folder, 'tokens.csv');
  writeFileSync(path, content, { mode });
  return { path, remove: () => rmSync(folder, { recursive: true }) };
}

describe('the file for tokens', () => {
  it('is continued when it is there, and its tokens are found', async () => {
    const { path, remove } = fileWith('serial,token\nA,a-token\n', 0o644);
    const file = await openTokenFile(path, () => {});
    expect([await file.find('A'), await file.find('B')]).toEqual(['a-token', undefined]);
    await Promise.all([file.add('B', 'b-token'), file.add('C', 'c-token')]);
    expect(readFileSync(path, 'utf8')).toBe('serial,token\nA,a-token\nB,b-token\nC,c-token\n');
    expect(statSync(path).mode & 0o777).toBe(0o600);
    await file.close();
    remove();
  });

  it.each([
    ['of its last line', 'serial,token\nA,a-token\nB,b-to'],
    ['of its header', 'serial,tok'],
  ])('loses the half %s, which a killed import left', async (_what, content) => {
    const { path, remove } = fileWith(content);
    const file = await openTokenFile(path, () => {});
    await file.add('B', 'another');
    const [header, ...lines] = readFileSync(path, 'utf8').trimEnd().split('\n');
    expect(header).toBe('serial,token');
    expect(lines.filter((line) => line.startsWith('B'))).toEqual(['B,another']);
    await file.close();
    remove();
  });

  it.each(['name,price\nx,1\n', 'a text'])(
    'is left alone when it is something else, and that is said: %j',
    async (content) => {
      const { path, remove } = fileWith(content);
      await expect(openTokenFile(path, () => {})).rejects.toThrow(
        /exists, and is no file of tokens; name another file/,
      );
      expect(readFileSync(path, 'utf8')).toBe(content);
      remove();
    },
  );

  it('is closed where it can be made and not written, as on a full disk: Node ends a process that leaves it open', async () => {
    const { path, remove } = fileWith('');
    rmSync(path);
    let closed = 0;
    const full = Object.assign(new Error('ENOSPC: no space left on device, write'), { code: 'ENOSPC' });
    const open = vi.spyOn(promises, 'open').mockImplementation(async (name) => {
      if (!existsSync(String(name)) && closed === 0 && open.mock.calls.at(-1)?.[1] === 'r+')
        throw Object.assign(new Error('ENOENT'), { code: 'ENOENT' });
      return { appendFile: () => Promise.reject(full), close: async () => void closed++ } as never;
    });
    const file = await openTokenFile(path, () => {});
    await expect(file.add('A', 'a-token')).rejects.toThrow(/ENOSPC/);
    await file.close();
    expect(closed).toBe(1);
    open.mockRestore();
    remove();
  });

  it('may be a device or a pipe, such as /dev/stdout', async () => {
    const file = await openTokenFile('/dev/null', () => {});
    await file.add('A', 'a-token');
    await file.close();
    const full = await openTokenFile('/dev/full', () => {});
    await expect(full.add('A', 'a-token')).rejects.toThrow(/ENOSPC/);
    await full.close();
  });

  it('has each token on disk before that is said, and writes those that come meanwhile at once', async () => {
    const { path, remove } = fileWith('serial,token\n');
    const file = await openTokenFile(path, () => {});
    const serials = Array.from({ length: 200 }, (_, index) => `S-${index}`);
    await Promise.all(
      serials.map(async (serial) => {
        await file.add(serial, 'a-token');
        expect(readFileSync(path, 'utf8')).toContain(`\n${serial},a-token\n`);
      }),
    );
    await file.close();
    remove();
  });

  it.skipIf(!existsSync('/dev/full'))('on a full disk fails the write, and not the process', async () => {
    const { open } = await vi.importActual<typeof promises>('node:fs/promises');
    vi.spyOn(promises, 'open').mockImplementation(async (path, flags) =>
      flags === 'r+' ? open(path, 'r+') : open('/dev/full', 'w'),
    );
    const uncaught = vi.fn();
    process.on('uncaughtException', uncaught);
    const file = await openTokenFile(join(tmpdir(), 'cvm-no-such-tokens.csv'), () => {});
    await expect(file.add('A', 'a-token')).rejects.toThrow(/ENOSPC/);
    await new Promise((resolve) => setTimeout(resolve, 20));
    process.off('uncaughtException', uncaught);
    expect(uncaught).not.toHaveBeenCalled();
    vi.restoreAllMocks();
  });
});

import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BackupError } from '../../backup/backup-error.ts';
import { readBackup, restore } from '../../backup/restore.ts';
import type { SealedReader } from '../../backup/sealed-file.ts';
import { placesOf } from '../../backup/site-files.ts';
import { loadSettings } from '../../runtime/settings.ts';

const manifest = JSON.stringify({ dataFormat: 1, withAudit: false, withSettings: false });
type Entry = { readonly path: string; readonly mode?: number; readonly size?: number; readonly content?: string };
const key: Entry = { path: 'data/tls/gateway.key', content: 'key' };

/** A person who has the passphrase can seal any names and contents. They must come to their places, or the restore must refuse all. */
describe('a backup that an attacker has sealed', () => {
  let folder: string;
  let site: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-hostile-'));
    site = join(folder, 'site');
    mkdirSync(site);
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  /** What is in a sealed file that the passphrase has opened. */
  function opened(entries: readonly (Entry | Buffer)[]): SealedReader {
    const bytes = entries.flatMap((entry) => {
      if (Buffer.isBuffer(entry)) return [entry];
      const { path, content = 'x', mode = 0o600, size = Buffer.byteLength(content) } = entry;
      const described = Buffer.from(JSON.stringify({ path, mode, size }));
      const length = Buffer.alloc(4);
      length.writeUInt32BE(described.length);
      return [length, described, Buffer.from(content)];
    });
    let rest = Buffer.concat(bytes);
    return {
      head: { cvm: '0.1.0', createdAt: '2026-11-28T12:00:00Z' },
      read(count) {
        const taken = rest.subarray(0, count);
        rest = rest.subarray(count);
        return taken;
      },
      close: () => {},
    };
  }
  function restoreThat(entries: readonly (Entry | Buffer)[]): string[] {
    const places = placesOf(loadSettings({ CVM_DATA_DIR: join(site, 'data') }), join(site, '.env'));
    return restore(readBackup(opened(entries)), places).files;
  }
  const all = () => (readdirSync(folder, { recursive: true }) as string[]).sort();

  it('writes nothing outside of the places of a site, and nothing at all where it tries', () => {
    const paths = [
      'data/../../escaped',
      'data/tls/../../../escaped',
      'data/..',
      'data/',
      'data//escaped',
      'data/./escaped',
      '/etc/escaped',
      '../escaped',
      'escaped',
      'named/../../escaped',
      'named/CVM_TLS_KEY',
      'templates/../../escaped',
      'audit/../../../escaped',
      'data/a\0b',
      'data\\..\\escaped',
      '__proto__/escaped',
      'constructor/escaped',
      'settings/escaped',
    ];
    for (const path of paths) {
      const entries = [{ path: 'manifest', content: manifest }, key, { path }];
      expect(() => restoreThat(entries), path).toThrow(BackupError);
      expect(all(), path).toEqual(['site']);
    }
  });

  it('is refused with cause and cure, and leaves nothing, where its content is not as it is written', () => {
    const begin: Entry = { path: 'manifest', content: manifest };
    const rows: Readonly<Record<string, readonly (Entry | Buffer)[]>> = {
      'no manifest': [key],
      'a manifest that is no JSON': [{ path: 'manifest', content: '{' }, key],
      'a manifest of another form': [{ path: 'manifest', content: '{"dataFormat":"1"}' }, key],
      'a huge manifest': [{ path: 'manifest', size: 2 ** 40 }, key],
      'the same file twice': [begin, key, key],
      'a file as folder of another': [begin, key, { path: 'data/tls/gateway.key/below' }],
      'a folder as file': [begin, key, { path: 'data/tls' }],
      'the settings late': [begin, key, { path: 'settings', content: 'CVM_SITE=a\n' }, { path: 'settings' }],
      'a program that becomes root': [begin, key, { path: 'data/tls/shell', mode: 0o4755 }],
      'a size that is none': [begin, key, { path: 'data/tls/x', size: -1 }],
      'more than there is': [begin, key, { path: 'data/tls/x', size: 2 ** 50 }],
      'a description that is no JSON': [begin, key, Buffer.from([0, 0, 0, 3, 1, 2, 3])],
      'an end in a description': [begin, key, Buffer.from([0, 0])],
      'a name that no file can have': [begin, key, { path: `data/${'x'.repeat(300)}` }],
    };
    for (const [what, entries] of Object.entries(rows)) {
      const refused = errorOf(() => restoreThat(entries));
      expect(refused, what).toBeInstanceOf(BackupError);
      expect((refused as BackupError).cure, what).toMatch(/\w+/);
      expect(all(), what).toEqual(['site']);
    }
  });

  it('follows no link at a place of its own, and changes nothing behind it', () => {
    const victim = join(folder, 'victim');
    mkdirSync(victim);
    writeFileSync(join(victim, 'file'), 'mine');
    const entries: Entry[] = [
      { path: 'manifest', content: manifest },
      { path: 'settings', content: 'CVM_SITE=plant\n' },
      key,
    ];
    // to a file that is there: it counts as being there
    symlinkSync(join(victim, 'file'), join(site, '.env'));
    expect(() => restoreThat(entries)).toThrow(/is there already/);
    rmSync(join(site, '.env'));
    // to nothing: the link is replaced, and its target is not made
    symlinkSync(join(victim, 'new'), join(site, '.env'));
    symlinkSync(join(victim, 'part'), join(site, '.env.restored.part'));
    restoreThat(entries);
    expect(readFileSync(join(site, '.env'), 'utf8')).toBe('CVM_SITE=plant\n');
    expect(readdirSync(victim)).toEqual(['file']);
    expect(readFileSync(join(victim, 'file'), 'utf8')).toBe('mine');
  });

  it('gives no file more rights than its owner needs', () => {
    restoreThat([
      { path: 'manifest', content: manifest },
      { ...key, mode: 0o777 },
    ]);
    expect(statSync(join(site, 'data/tls/gateway.key')).mode & 0o777).toBe(0o755);
  });
});

function errorOf(work: () => unknown): unknown {
  try {
    return work();
  } catch (error) {
    return error;
  }
}

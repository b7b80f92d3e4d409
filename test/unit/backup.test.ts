import { createHash } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { backUp } from '../../backup/backup.ts';
import { checkBackup, readBackup, restore } from '../../backup/restore.ts';
import { createSealedFile, openSealedFile } from '../../backup/sealed-file.ts';
import { placesOf } from '../../backup/site-files.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { claimDataFolder } from '../../site-tls/data-format.ts';
import { loadGateway } from '../../site-tls/gateway-key.ts';
import { full, sized } from '../support/size.ts';

const passphrase = 'correct horse battery';
const now = new Date('2026-11-28T12:00:00Z');

describe('a backup of a site', () => {
  let folder: string;
  let dataDir: string;
  let file: string;
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-backup-'));
    [dataDir, file] = [join(folder, 'data'), join(folder, 'site.cvm')];
    claimDataFolder(dataDir);
    await loadGateway(dataDir);
    write('data/console/passwords.json', '{"secret":"console-secret"}', 0o600);
    write('data/templates/fleet.json', '{"Resources":{}}', 0o644);
    write('data/audit/2026-11.jsonl', '{"event":"enrolled"}\n', 0o600);
    write('data/redis/appendonly.aof', 'redis', 0o600);
    write('data/broker.alive', 'now', 0o600);
    // more than one sealed piece
    write('data/tls/large.pem', 'x'.repeat(200_000), 0o600);
    write('.env', 'AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI\n', 0o600);
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  function write(path: string, text: string, mode: number): void {
    const target = join(folder, path);
    mkdirSync(dirname(target), { recursive: true, mode: 0o700 });
    writeFileSync(target, text);
    chmodSync(target, mode);
  }
  const placesIn = (root: string) => placesOf(loadSettings({ CVM_DATA_DIR: join(root, 'data') }), join(root, '.env'));
  const make = (audit = false) => backUp(file, passphrase, placesIn(folder), { audit, site: 'plant-7', now });
  async function check(from = file, word = passphrase): Promise<string[]> {
    const reader = await openSealedFile(from, word);
    try {
      return checkBackup(readBackup(reader));
    } finally {
      reader.close();
    }
  }
  async function restoreTo(root: string, from = file): Promise<string[]> {
    mkdirSync(root, { recursive: true });
    const reader = await openSealedFile(from, passphrase);
    try {
      return restore(readBackup(reader), placesIn(root)).files;
    } finally {
      reader.close();
    }
  }
  const filesIn = (root: string) =>
    (readdirSync(root, { recursive: true }) as string[]).filter((name) => statSync(join(root, name)).isFile()).sort();

  it('has keys, passwords, templates and settings, and nothing that is made anew', async () => {
    await make();
    const names = await check();
    expect(names).toEqual(
      expect.arrayContaining([
        'settings',
        'data/tls/gateway.key',
        'data/console/passwords.json',
        'data/templates/fleet.json',
      ]),
    );
    expect(names.filter((name) => /redis|audit|alive|lock/.test(name))).toEqual([]);
  });

  it('has the audit trail where it is asked for', async () => {
    await make(true);
    expect(await check()).toContain('audit/2026-11.jsonl');
  });

  it('is restored with the same content and rights', async () => {
    await make();
    const other = join(folder, 'other');
    await restoreTo(other);
    for (const name of [
      '.env',
      'data/tls/gateway.key',
      'data/console/passwords.json',
      'data/tls/large.pem',
      'data/templates/fleet.json',
    ]) {
      expect(readFileSync(join(other, name))).toEqual(readFileSync(join(folder, name)));
      expect(statSync(join(other, name)).mode).toBe(statSync(join(folder, name)).mode);
    }
    expect(statSync(join(other, 'data/tls')).mode & 0o077).toBe(0);
    expect(filesIn(other).filter((name) => name.includes('.restoring') || name.endsWith('.part'))).toEqual([]);
  });

  it('is restored with the same rights under any umask', async () => {
    await make();
    const other = join(folder, 'other');
    const umask = process.umask(0o077);
    try {
      await restoreTo(other);
    } finally {
      process.umask(umask);
    }
    expect(statSync(join(other, 'data/templates/fleet.json')).mode & 0o777).toBe(0o644);
  });

  it.runIf(process.getuid?.() === 0)(
    'that root restores belongs to the owner of the folder, who runs the gateway',
    async () => {
      await make();
      const user = { uid: 12345, gid: 12346 };
      const [site, empty] = [join(folder, 'site'), join(folder, 'empty')];
      for (const each of [site, join(empty, 'data')]) mkdirSync(each, { recursive: true });
      // the one has no data folder yet, the other an empty one
      for (const each of [site, empty, join(empty, 'data')]) chownSync(each, user.uid, user.gid);
      for (const root of [site, empty]) {
        await restoreTo(root);
        for (const name of ['.env', 'data', ...filesIn(root), 'data/tls', 'data/console'])
          expect(statSync(join(root, name)), `${root}/${name}`).toMatchObject(user);
      }
    },
  );

  it('is refused with a byte changed anywhere, and with its end cut off, and nothing is restored', async () => {
    rmSync(join(dataDir, 'tls/large.pem'));
    await make();
    const whole = readFileSync(file);
    const changed = join(folder, 'changed.cvm');
    const parts = sized(12, 4);
    // each byte of the head, where the meaning of a byte differs, and some of the sealed part
    const headEnd = whole.indexOf('\n', whole.indexOf('\n', whole.indexOf('\n') + 1) + 1) + 1 + 32;
    const places = new Set([
      ...Array.from({ length: headEnd }, (_, at) => at).filter(
        (at) => at < 20 || at > headEnd - 3 || (at < headEnd - 32 && at % (full ? 23 : 97) === 0),
      ),
      ...Array.from({ length: parts }, (_, part) => headEnd + Math.floor((part * (whole.length - headEnd)) / parts)),
      whole.length - 1,
    ]);
    for (const at of places) {
      const bytes = Buffer.from(whole);
      bytes[at] = (bytes[at] ?? 0) ^ 0x01;
      writeFileSync(changed, bytes);
      await expect(restoreTo(join(folder, 'other'), changed), `byte ${at}`).rejects.toThrow(/backup/);
    }
    for (const length of [0, 5, headEnd - 10, headEnd, headEnd + 100, whole.length - 1]) {
      writeFileSync(changed, whole.subarray(0, length));
      await expect(restoreTo(join(folder, 'other'), changed), `${length} bytes`).rejects.toThrow(/backup/);
    }
    writeFileSync(changed, Buffer.concat([whole, Buffer.alloc(1)]));
    await expect(restoreTo(join(folder, 'other'), changed)).rejects.toThrow(/damaged/);
    expect(filesIn(join(folder, 'other'))).toEqual([]);
  });

  it('is refused where whole pieces of it are missing at its end', async () => {
    const long = join(folder, 'long.cvm');
    const writer = await createSealedFile(long, passphrase, { cvm: '0.1.0', createdAt: now.toISOString() });
    const [piece, tag] = [64 * 1024, 16];
    writer.write(Buffer.alloc(2 * piece + 100));
    writer.finish();
    const whole = readFileSync(long);
    for (const missing of [100 + tag, 100 + tag + piece + tag]) {
      writeFileSync(long, whole.subarray(0, whole.length - missing));
      const reader = await openSealedFile(long, passphrase);
      expect(() => reader.read(3 * piece)).toThrow(/damaged/);
      reader.close();
    }
  });

  it('of a stranger takes no more than 256 MiB of memory to be refused', async () => {
    const kdf = { N: 2 ** 18, r: 16, p: 1, salt: 'a'.repeat(22) };
    const head = `cvm-backup 1\n${JSON.stringify({ cvm: '0.1.0', createdAt: now.toISOString(), kdf })}\n`;
    const digest = createHash('sha256').update(head).digest('hex');
    writeFileSync(file, Buffer.concat([Buffer.from(`${head}${digest}\n`), Buffer.alloc(100)]));
    await expect(check()).rejects.toThrow(/damaged: its head is not as cvm writes it/);
  });

  it('tells a wrong passphrase from damage, and names the format that a later version wrote', async () => {
    await make();
    await expect(check(file, 'wrong horse battery')).rejects.toThrow(/not the passphrase/);
    const later = join(folder, 'later.cvm');
    writeFileSync(later, Buffer.concat([Buffer.from('cvm-backup 2\n'), readFileSync(file).subarray(13)]));
    await expect(check(later)).rejects.toMatchObject({ message: /format 2/, cure: /newer/ });
    writeFileSync(later, 'something else\n');
    await expect(check(later)).rejects.toThrow(/no backup of cvm/);
  });

  it('has nothing secret in clear', async () => {
    await make(true);
    const bytes = readFileSync(file).toString('latin1');
    for (const secret of [
      'PRIVATE',
      'console-secret',
      'wJalrXUtnFEMI',
      'enrolled',
      'passwords.json',
      'plant-7',
      passphrase,
    ])
      expect(bytes).not.toContain(secret);
    expect(statSync(file).mode & 0o077).toBe(0);
  });

  it('overwrites nothing: no backup, no data folder that is in use, no settings', async () => {
    await make();
    const before = readFileSync(file);
    await expect(make()).rejects.toThrow(/there already/);
    expect(readFileSync(file)).toEqual(before);
    await expect(restoreTo(folder)).rejects.toThrow(/not empty/);
    const other = join(folder, 'other');
    mkdirSync(other);
    writeFileSync(join(other, '.env'), 'CVM_TABLE=mine\n');
    await expect(restoreTo(other)).rejects.toThrow(/\.env is there already/);
    expect(filesIn(other)).toEqual(['.env']);
    expect(readdirSync(folder).filter((name) => name.endsWith('.part'))).toEqual([]);
  });

  it('is not made where there is no gateway', async () => {
    rmSync(join(dataDir, 'tls'), { recursive: true });
    await expect(make()).rejects.toThrow(/no gateway/);
    expect(existsSync(file)).toBe(false);
  });

  it('that was restored in part starts no gateway', async () => {
    mkdirSync(join(folder, 'other/data/.restoring'), { recursive: true });
    expect(() => claimDataFolder(join(folder, 'other/data'))).toThrow(/not finished/);
    await make();
    await expect(restoreTo(join(folder, 'other'))).rejects.toMatchObject({ cure: /not finished/ });
  });
});

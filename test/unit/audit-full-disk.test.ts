import * as fs from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { openAudit } from '../../runtime/audit.ts';
import { verifyAudit } from '../../runtime/audit-verify.ts';
import { createLog } from '../../runtime/log.ts';

vi.mock('node:fs', async (original) => {
  const real = await original<typeof fs>();
  const { writeSync, fdatasyncSync, statfsSync } = real;
  return { ...real, writeSync: vi.fn(writeSync), fdatasyncSync: vi.fn(fdatasyncSync), statfsSync: vi.fn(statfsSync) };
});

describe('on a full disk, the audit trail', () => {
  let folder: string;
  let said: string[];
  beforeEach(() => {
    folder = fs.mkdtempSync(join(tmpdir(), 'cvm-audit-'));
    said = [];
  });
  afterEach(() => fs.rmSync(folder, { recursive: true, force: true }));

  const open = () =>
    openAudit({ folder, part: 'worker', log: createLog('error', { write: (line) => void said.push(line) }) });
  const full = () => {
    throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
  };

  const eventsIn = (where: string) =>
    fs
      .readdirSync(where)
      .flatMap((name) => fs.readFileSync(join(where, name), 'utf8').trim().split('\n'))
      .map((line) => (JSON.parse(line) as { event: string }).event);

  it('is a trouble that names the cure, until it can be written, which it then says itself', async () => {
    const audit = open();
    audit.record('vended', { serial: 'SN-1' });
    expect(audit.trouble()).toBeUndefined();
    vi.mocked(fs.writeSync).mockImplementation(full);
    for (const serial of ['SN-2', 'SN-3']) audit.record('vended', { serial });
    for (const _look of [1, 2]) expect(audit.trouble()).toMatch(/ENOSPC.*2 records.*free space there.*CVM_AUDIT_DIR/);
    const { writeSync } = await vi.importActual<typeof fs>('node:fs');
    vi.mocked(fs.writeSync).mockImplementation(writeSync);
    expect(audit.trouble()).toBeUndefined();
    await audit.close();
    expect(eventsIn(folder)).toEqual(['vended', 'records-lost']);
    expect(await verifyAudit(folder)).toMatchObject({ records: 2, faults: [] });
  });

  it('is a trouble before a record is lost', async () => {
    const audit = open();
    const none = { type: 0, bsize: 4096, blocks: 1000, bfree: 10, bavail: 0, files: 0, ffree: 0 };
    vi.mocked(fs.statfsSync).mockReturnValueOnce(none as fs.StatsFs & fs.BigIntStatsFs);
    expect(audit.trouble()).toMatch(/is full: free space there/);
    expect(audit.trouble()).toBeUndefined();
    await audit.close();
  });

  it('tells its caller which record is lost', async () => {
    const lost: unknown[] = [];
    const onLost = (event: string, fields: object, { message }: Error) => void lost.push([event, fields, message]);
    const audit = openAudit({ folder, part: 'cvm', log: createLog('silent'), onLost });
    vi.mocked(fs.writeSync).mockImplementationOnce(full);
    audit.record('blocked', { serial: 'SN-1' });
    audit.record('blocked', { serial: 'SN-2' });
    await audit.close();
    expect(lost).toEqual([['blocked', { serial: 'SN-1' }, 'no space left on device']]);
  });

  it('lacks a record that could not be written, which is in the log instead, and is otherwise whole', async () => {
    const audit = open();
    audit.record('vended', { serial: 'SN-1' });
    vi.mocked(fs.writeSync).mockImplementationOnce(full);
    audit.record('vended', { serial: 'SN-2' });
    audit.record('vended', { serial: 'SN-3' });
    await audit.close();
    expect(await verifyAudit(folder)).toMatchObject({ records: 3, faults: [] });
    expect(eventsIn(folder)).toEqual(['vended', 'records-lost', 'vended']);
    expect(said.map((line) => JSON.parse(line))).toEqual([
      expect.objectContaining({ event: 'vended', serial: 'SN-2', err: expect.objectContaining({ code: 'ENOSPC' }) }),
    ]);
  });

  it('has a partly written record on its own line, and verification reports only that line', async () => {
    const audit = open();
    audit.record('vended', { serial: 'SN-1' });
    const { writeSync } = await vi.importActual<typeof fs>('node:fs');
    vi.mocked(fs.writeSync).mockImplementationOnce(((descriptor: number, bytes: Buffer) =>
      writeSync(descriptor, bytes, 0, 20)) as typeof fs.writeSync);
    audit.record('vended', { serial: 'SN-2' });
    for (const serial of ['SN-3', 'SN-4']) audit.record('vended', { serial });
    await audit.close();
    const { records, faults } = await verifyAudit(folder);
    // three vends, and how many are lost
    expect(records).toBe(4);
    expect(faults).toEqual([expect.stringMatching(/:2: is not a whole record \(a crash or a full disk/)]);
    expect(said.join()).toContain('"serial":"SN-2"');
  });

  it('closes without holding up the process', async () => {
    const audit = open();
    audit.record('vended', {});
    vi.mocked(fs.fdatasyncSync).mockImplementationOnce(full);
    await audit.close();
    expect(said.join()).toContain('ENOSPC');
  });
});

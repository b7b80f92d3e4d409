import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openAudit, verifyAudit } from '../../runtime/audit.ts';
import { createLog } from '../../runtime/log.ts';

const log = createLog('silent');

describe('the audit trail', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-audit-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  const file = () => join(folder, '2026-03.jsonl');
  const lines = () => readFileSync(file(), 'utf8').trimEnd().split('\n');
  const keep = (changed: readonly string[]) => writeFileSync(file(), `${changed.join('\n')}\n`);
  const march = () => Date.UTC(2026, 2, 1);
  /** Two writers, in turns. */
  async function write(count = 6): Promise<void> {
    const two = ['broker', 'worker'].map((part) => openAudit({ folder, part, log, now: march }));
    for (let index = 0; index < count; index++) two[index % 2]?.record('vended', { serial: `SN-${index}` });
    for (const audit of two) await audit.close();
  }

  it('of several writers in one file is whole, and readable by nobody else', async () => {
    await write();
    expect(verifyAudit(folder)).toMatchObject({ records: 6, faults: [] });
    expect(JSON.parse(lines()[2] ?? '')).toMatchObject({ part: 'broker', event: 'vended', serial: 'SN-2' });
    expect(statSync(file()).mode & 0o777).toBe(0o600);
  });

  it.each([0, 1, 2, 3, 4])('shows that record %i was removed', async (index) => {
    await write();
    keep(lines().filter((_line, at) => at !== index));
    expect(verifyAudit(folder).faults).not.toEqual([]);
  });

  it.each([0, 3, 5])('shows that record %i was changed', async (index) => {
    await write();
    keep(lines().map((line, at) => (at === index ? line.replace('SN-', 'SN+') : line)));
    expect(verifyAudit(folder).faults.join()).toContain('was changed');
  });

  it('shows that records were swapped, repeated or put in', async () => {
    await write();
    const [a = '', b = '', ...rest] = lines();
    keep([b, a, ...rest]);
    expect(verifyAudit(folder).faults).not.toEqual([]);
    keep([a, b, b, ...rest]);
    expect(verifyAudit(folder).faults.join()).toContain('a second time');
    keep([a, b, '{"event":"vended"}', ...rest]);
    expect(verifyAudit(folder).faults.join()).toContain('not a whole record');
  });

  it('shows that the end was cut off, to who noted the head elsewhere', async () => {
    await write();
    const { head } = verifyAudit(folder);
    keep(lines().slice(0, -1));
    expect(verifyAudit(folder).faults).toEqual([]);
    expect(verifyAudit(folder, head).faults).not.toEqual([]);
  });

  it('goes on in a file that a crash left torn, and says so', async () => {
    await write(2);
    appendFileSync(file(), '{"time":"2026');
    await write(2);
    const { records, faults } = verifyAudit(folder);
    expect(records).toBe(4);
    expect(faults).toHaveLength(1);
  });

  it('goes on from month to month, also when old months were put away', async () => {
    let time = march();
    const audit = openAudit({ folder, part: 'worker', log, now: () => time });
    for (let month = 2; month < 6; month++) {
      time = Date.UTC(2026, month, 1);
      audit.record('vended', { serial: 'a' });
      audit.record('vended', { serial: 'b' });
    }
    await audit.close();
    expect(verifyAudit(folder)).toMatchObject({ records: 8, faults: [] });
    rmSync(join(folder, '2026-04.jsonl'));
    expect(verifyAudit(folder).faults).not.toEqual([]);
    rmSync(file());
    expect(verifyAudit(folder)).toMatchObject({ records: 4, faults: [] });
  });

  it('does not stop who cannot write it', () => {
    writeFileSync(join(folder, 'file'), '');
    const audit = openAudit({ folder: join(folder, 'file', 'below'), part: 'x', log });
    expect(() => audit.record('vended')).not.toThrow();
  });
});

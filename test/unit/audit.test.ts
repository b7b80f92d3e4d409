import {
  appendFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { auditCommand } from '../../cli/audit.ts';
import { openAudit } from '../../runtime/audit.ts';
import { hashRecord } from '../../runtime/audit-format.ts';
import { verifyAudit } from '../../runtime/audit-verify.ts';
import { createLog } from '../../runtime/log.ts';
import { loadSettings } from '../../runtime/settings.ts';

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

  it('of several writers in one file is whole, and only its owner can read it', async () => {
    await write();
    expect(await verifyAudit(folder)).toMatchObject({ records: 6, faults: [] });
    expect(JSON.parse(lines()[2] ?? '')).toMatchObject({ part: 'broker', event: 'vended', serial: 'SN-2' });
    expect(statSync(file()).mode & 0o777).toBe(0o600);
  });

  it.each([0, 1, 2, 3, 4])('shows that record %i was removed', async (index) => {
    await write();
    keep(lines().filter((_line, at) => at !== index));
    expect((await verifyAudit(folder)).faults).not.toEqual([]);
  });

  it.each([0, 3, 5])('shows that record %i was changed', async (index) => {
    await write();
    keep(lines().map((line, at) => (at === index ? line.replace('SN-', 'SN+') : line)));
    expect((await verifyAudit(folder)).faults.join()).toContain('was changed');
  });

  it('shows that records were swapped, repeated or inserted', async () => {
    await write();
    const [a = '', b = '', ...rest] = lines();
    keep([b, a, ...rest]);
    expect((await verifyAudit(folder)).faults).not.toEqual([]);
    keep([a, b, b, ...rest]);
    expect((await verifyAudit(folder)).faults.join()).toContain('a second time');
    keep([a, b, '{"event":"vended"}', ...rest]);
    expect((await verifyAudit(folder)).faults.join()).toContain('not a whole record');
  });

  it.each([
    ['a stranger', 1],
    ['a stranger', 5],
    ['a writer of the trail', 1],
    ['a writer of the trail', 5],
  ])('shows that a record was inserted under the name of %s, after record %i', async (whose, index) => {
    await write(10);
    const told = lines();
    const { hash, writer } = JSON.parse(told[index] ?? '') as { hash: string; writer: string };
    const forged = { time: '2026-03-01T00:00:00.000Z', writer: whose === 'a stranger' ? 'deadbeef' : writer };
    keep(told.toSpliced(index + 1, 0, hashRecord({ ...forged, part: 'cvm', event: 'removed', after: [hash] }).line));
    expect((await verifyAudit(folder)).faults).toEqual([expect.stringMatching(`^2026-03.jsonl:${index + 2}: none of`)]);
  });

  it('shows that a record was removed which was written while another writer was about to write', async () => {
    const [broker, cvm] = ['broker', 'cvm'].map((part) => openAudit({ folder, part, log, now: march }));
    broker?.record('first', {});
    // between what the broker reads and what it writes: while it puts its record together
    broker?.record('meanwhile', {
      serial: { toJSON: () => cvm?.record('blocked', { serial: 'SN-1' }) },
    });
    for (let index = 0; index < 3; index++) broker?.record('later', {});
    const told = lines();
    expect(told[1]).toContain('blocked');
    expect(await verifyAudit(folder)).toMatchObject({ records: 6, faults: [] });
    keep(told.toSpliced(1, 1));
    expect((await verifyAudit(folder)).faults).not.toEqual([]);
    for (const audit of [broker, cvm]) await audit?.close();
  });

  it('is whole also when its end was read while another process wrote there', async () => {
    const broker = openAudit({ folder, part: 'broker', log, now: march });
    broker.record('first', {});
    const { head = '' } = await verifyAudit(folder);
    const { line } = hashRecord({
      time: '2026-03-01T00:00:00.000Z',
      writer: 'deadbeef',
      event: 'blocked',
      after: [head],
    });
    appendFileSync(file(), line.slice(0, 100));
    broker.record('meanwhile', { serial: { toJSON: () => appendFileSync(file(), `${line.slice(100)}\n`) } });
    for (let index = 0; index < 2; index++) broker.record('later', {});
    await broker.close();
    expect(await verifyAudit(folder)).toMatchObject({ records: 5, faults: [] });
  });

  it('keeps any recorded text on one line', async () => {
    const audit = openAudit({ folder, part: 'broker', log, now: march });
    for (const serial of ['a\u2028b', 'a\u2029b', 'a\nb', '\ud800', '","after":[],"hash":"'])
      audit.record('refused', { serial });
    await audit.close();
    expect(await verifyAudit(folder)).toMatchObject({ records: 5, faults: [] });
  });

  it('is reported as missing where there is no folder, or no record in it', async () => {
    expect((await verifyAudit(join(folder, 'nowhere'))).faults.join()).toContain('there is no folder');
    // one that cannot be looked at is not one that is not there
    symlinkSync('circle', join(folder, 'circle'));
    await expect(verifyAudit(join(folder, 'circle'))).rejects.toThrow(/ELOOP/);
    expect((await verifyAudit(folder)).faults.join()).toContain('no record is in');
    writeFileSync(file(), '');
    expect((await verifyAudit(folder)).faults.join()).toContain('no record is in');
  });

  it.each([
    ['a folder that does not exist', '1'],
    ['a folder without records', '1'],
    ['a trail', 'undefined'],
  ])('of %s gives cvm audit verify the exit status %s', async (what, status) => {
    vi.spyOn(console, 'error').mockImplementation(() => {});
    if (what === 'a trail') await write();
    const dir = what.endsWith('exist') ? join(folder, 'nowhere') : folder;
    const said: string[] = [];
    const command = auditCommand({ settings: async () => loadSettings({}), write: (line) => said.push(line) });
    await command.parseAsync(['verify', '--dir', dir], { from: 'user' });
    expect(String(process.exitCode)).toBe(status);
    expect(said.join().includes('all as they were written')).toBe(what === 'a trail');
    process.exitCode = undefined;
    vi.restoreAllMocks();
  });

  describe('cvm audit show', () => {
    async function show(...argv: string[]): Promise<string[]> {
      const said: string[] = [];
      const command = auditCommand({ settings: async () => loadSettings({}), write: (line) => said.push(line) });
      await command.parseAsync(['show', '--dir', folder, ...argv], { from: 'user' });
      return said;
    }

    it('prints time, part, event, serial and what else the record says, and no hashes', async () => {
      const audit = openAudit({ folder, part: 'broker', log, now: march });
      audit.record('refused', { serial: 'SN-1', errorCode: 'InvalidToken', remoteAddress: '10.0.0.9' });
      await audit.close();
      expect(await show()).toEqual([
        '2026-03-01T00:00:00.000Z  broker    refused            SN-1  errorCode=InvalidToken  remoteAddress=10.0.0.9',
      ]);
    });

    it.each([
      [['--serial', 'SN-3'], ['SN-3']],
      [
        ['--last', '2'],
        ['SN-4', 'SN-5'],
      ],
      [['--since', '2026-03-02'], []],
    ])('%j prints only those', async (options, serials) => {
      vi.spyOn(console, 'error').mockImplementation(() => {});
      await write();
      const said = await show(...options, '--json');
      expect(said.map((line) => JSON.parse(line).serial)).toEqual(serials);
      vi.restoreAllMocks();
    });
  });

  it('is verified without holding a whole file in memory', async () => {
    await write(4);
    appendFileSync(file(), '{');
    truncateSync(file(), 0x1fff_ffe8 + 65_536);
    const { records, faults } = await verifyAudit(folder);
    expect(records).toBe(4);
    expect(faults).toEqual(['2026-03.jsonl: the last record is cut off']);
  });

  it('logs its head every hour and when it closes, and keeps no process alive', async () => {
    const timers = vi.spyOn(globalThis, 'setInterval');
    openAudit({ folder, part: 'broker', log });
    expect(timers.mock.results.map(({ value }) => (value as NodeJS.Timeout).hasRef())).toEqual([false, false]);
    timers.mockRestore();
    vi.useFakeTimers();
    try {
      const said: unknown[] = [];
      const audit = openAudit({ folder, part: 'broker', log: createLog('info', { write: (line) => said.push(line) }) });
      vi.advanceTimersByTime(3_600_000);
      expect(said).toEqual([]);
      audit.record('vended', {});
      const { head } = await verifyAudit(folder);
      vi.advanceTimersByTime(7_200_000);
      await audit.close();
      expect(said).toHaveLength(3);
      for (const line of said) expect(JSON.parse(String(line))).toMatchObject({ part: 'broker', head });
      expect(vi.getTimerCount()).toBe(0);
    } finally {
      vi.useRealTimers();
    }
  });

  it('shows that its end was cut off, when its head was noted elsewhere', async () => {
    await write();
    const { head } = await verifyAudit(folder);
    keep(lines().slice(0, -1));
    expect((await verifyAudit(folder)).faults).toEqual([]);
    expect((await verifyAudit(folder, head)).faults).not.toEqual([]);
  });

  it('goes on in a file with a torn line, which verification reports', async () => {
    await write(2);
    appendFileSync(file(), '{"time":"2026');
    await write(2);
    const { records, faults } = await verifyAudit(folder);
    expect(records).toBe(4);
    expect(faults).toHaveLength(1);
  });

  it('goes on from month to month, also when the files of old months were archived', async () => {
    let time = march();
    const audit = openAudit({ folder, part: 'worker', log, now: () => time });
    for (let month = 2; month < 6; month++) {
      time = Date.UTC(2026, month, 1);
      audit.record('vended', { serial: 'a' });
      audit.record('vended', { serial: 'b' });
    }
    await audit.close();
    expect(await verifyAudit(folder)).toMatchObject({ records: 8, faults: [] });
    rmSync(join(folder, '2026-04.jsonl'));
    expect((await verifyAudit(folder)).faults).not.toEqual([]);
    rmSync(file());
    expect(await verifyAudit(folder)).toMatchObject({ records: 4, faults: [] });
  });

  it('shows that its file was removed while it was open, and goes on in a new one', async () => {
    const audit = openAudit({ folder, part: 'worker', log, now: march });
    for (const what of ['first', 'second']) audit.record(what, {});
    rmSync(file());
    for (const what of ['third', 'fourth']) audit.record(what, {});
    await audit.close();
    const { records, faults } = await verifyAudit(folder);
    expect(records).toBe(2);
    expect(faults).toEqual([expect.stringContaining('is missing')]);
  });

  it('never returns to an earlier file when the clock is set back', async () => {
    let time = Date.UTC(2026, 3, 1);
    const [first, second] = ['broker', 'worker'].map((part) => openAudit({ folder, part, log, now: () => time }));
    first?.record('vended', {});
    time = Date.UTC(2026, 2, 31, 23, 59, 59);
    for (const audit of [first, second, first]) audit?.record('vended', {});
    for (const audit of [first, second]) await audit?.close();
    expect(readdirSync(folder)).toEqual(['2026-04.jsonl']);
    expect(await verifyAudit(folder)).toMatchObject({ records: 4, faults: [] });
  });

  it('goes on beyond the end of a month in which another writer wrote last', async () => {
    let time = march();
    const [broker, cvm] = ['broker', 'cvm'].map((part) => openAudit({ folder, part, log, now: () => time }));
    cvm?.record('first', {});
    cvm?.record('blocked', {
      serial: {
        toJSON() {
          time = Date.UTC(2026, 3, 1);
          broker?.record('meanwhile', {});
        },
      },
    });
    for (let index = 0; index < 3; index++) broker?.record('later', {});
    for (const audit of [broker, cvm]) await audit?.close();
    expect(lines().at(-1)).toContain('blocked');
    expect(await verifyAudit(folder)).toMatchObject({ records: 6, faults: [] });
  });

  it('that cannot be written does not stop the gateway', () => {
    writeFileSync(join(folder, 'file'), '');
    const audit = openAudit({ folder: join(folder, 'file', 'below'), part: 'x', log });
    expect(() => audit.record('vended', {})).not.toThrow();
  });
});

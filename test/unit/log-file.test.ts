import { mkdtempSync, readFileSync, renameSync, rmSync, statSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openServiceLog } from '../../cli/service-log.ts';
import { createLog } from '../../runtime/log.ts';
import { logToFile } from '../../runtime/log-destination.ts';
import { SettingsError } from '../../runtime/settings-error.ts';

describe('a log that is a file', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-log-'));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it('goes on in a new file when it is opened anew, after the earlier one was renamed, and loses no line', () => {
    const [file, before] = [join(folder, 'cvm.log'), join(folder, 'cvm.log.1')];
    const { log, reopen } = openServiceLog({ logFile: file, logFormat: undefined, logLevel: 'info' });
    log.info('one');
    renameSync(file, before);
    log.info('two');
    reopen?.();
    log.info('three');
    const messages = (name: string) =>
      readFileSync(name, 'utf8')
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line).msg);
    expect([messages(before), messages(file)]).toEqual([
      ['one', 'two'],
      ['the log was opened anew', 'three'],
    ]);
    expect(statSync(file).mode & 0o777).toBe(0o600);
  });

  it('goes on at the begin of a file that was copied and emptied, as copytruncate of logrotate does it', () => {
    const file = join(folder, 'cvm.log');
    const log = createLog('info', logToFile(file));
    log.info('one');
    truncateSync(file);
    log.info('two');
    expect(JSON.parse(readFileSync(file, 'utf8')).msg).toBe('two');
  });

  it('goes on as it was when it cannot be opened anew', () => {
    const file = logToFile(join(folder, 'cvm.log'));
    const log = createLog('info', file);
    renameSync(folder, `${folder}-moved`);
    expect(() => file.reopen()).toThrow('ENOENT');
    log.info('still here');
    renameSync(`${folder}-moved`, folder);
    expect(readFileSync(join(folder, 'cvm.log'), 'utf8')).toContain('still here');
  });

  it('that cannot be written is a mistake in the settings', () => {
    const open = () => openServiceLog({ logFile: join(folder, 'no', 'cvm.log'), logFormat: 'json', logLevel: 'info' });
    expect(open).toThrow(SettingsError);
    expect(open).toThrow(/CVM_LOG_FILE: .* cannot be written \(ENOENT\)/);
  });

  it('has times in ISO 8601', () => {
    const { log } = openServiceLog({ logFile: join(folder, 'cvm.log'), logFormat: 'json', logLevel: 'info' });
    log.info('x');
    expect(JSON.parse(readFileSync(join(folder, 'cvm.log'), 'utf8')).time).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
  });
});

import { describe, expect, it } from 'vitest';
import { createLog } from '../../runtime/log.ts';
import { prettyLine, prettyLog } from '../../runtime/log-pretty.ts';
import { UpstreamRefused } from '../../runtime/upstream.ts';

const time = '2026-11-28T17:42:20.123Z';
const shown = (fields: object) => prettyLine(JSON.stringify({ level: 30, time, ...fields }));

describe('a line of the log for people', () => {
  it('has time, level, message and fields', () => {
    expect(shown({ msg: 'broker is listening', port: 8883, site: 'plant 7', ca: undefined })).toBe(
      `${time} INFO  broker is listening port=8883 site="plant 7"`,
    );
  });

  it('says first what to do, be it the cure of the line or that of its error', () => {
    expect(shown({ level: 40, msg: 'turning devices away', cure: 'raise CVM_MAX_CONNECTIONS', connections: 3 })).toBe(
      `${time} WARN  raise CVM_MAX_CONNECTIONS <- turning devices away connections=3`,
    );
    const err = { message: 'DescribeTable', cause: { message: 'denied', code: 403, cure: 'add the permission' } };
    expect(shown({ level: 50, msg: 'it failed', err })).toBe(
      `${time} ERROR add the permission <- it failed (DescribeTable: denied, 403)`,
    );
  });

  it('comes from the real log as one line, with an ISO time, cure and cause of the error, and no secret', () => {
    const lines: string[] = [];
    const log = createLog('info', prettyLog({ write: (line) => void lines.push(line) }, { colours: false }));
    log.error(
      { err: new UpstreamRefused('iot:CreateThing', new Error('denied'), 'add it'), token: 'canary' },
      'refused',
    );
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(
      /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z ERROR add it <- refused \(.*denied.*\) token="\[redacted\]"\n$/,
    );
    expect(lines[0]?.match(/\n/g)).toHaveLength(1);
  });

  it('keeps what a device has sent from writing lines of its own, and from steering the terminal', () => {
    const nasty = 'a\n2026 ERROR forged\r\u001b[2J\u009b1A\u202etxt\u2028\u{e0041}';
    const line = shown({ msg: nasty, serial: nasty, [nasty]: 1, err: nasty, cure: nasty });
    expect(line).not.toMatch(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u);
    expect(line).toContain('\\u{1b}[2J');
  });

  it('stays as it is where it is no JSON object', () => {
    expect(prettyLine('not JSON\n')).toBe('not JSON');
    expect(prettyLine('[1]\n')).toBe('[1]');
  });

  it('has colours only where they are wanted', () => {
    const json = JSON.stringify({ level: 50, time, msg: 'x' });
    expect(prettyLine(json, true)).toContain('\u001b[31mERROR\u001b[0m');
    expect(prettyLine(json, false)).not.toContain('\u001b');
  });
});

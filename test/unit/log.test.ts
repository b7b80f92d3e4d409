import { describe, expect, it } from 'vitest';
import { createLog } from '../../runtime/log.ts';

const canary = 'canary-1f6e0a';
const secretNames = [
  'token',
  'password',
  'psk',
  'privateKey',
  'private_key',
  'PrivateKey',
  'keyPair',
  'payload',
  'secret',
];

/** A log at its lowest level, and what it has written. */
function openLog() {
  const lines: string[] = [];
  return { log: createLog('trace', { write: (line) => void lines.push(line) }), lines };
}

describe('the log', () => {
  it.each(secretNames)('redacts %s at every level and at depth 1, 2 and 3', (name) => {
    const { log, lines } = openLog();
    for (const level of ['trace', 'debug', 'info', 'warn', 'error', 'fatal'] as const) {
      log[level]({ [name]: canary }, 'depth 1');
      log[level]({ device: { [name]: canary } }, 'depth 2');
      log[level]({ message: { device: { [name]: { deeper: canary } } } }, 'depth 3');
    }
    expect(lines).toHaveLength(18);
    for (const line of lines) expect(line).toContain('[redacted]');
    expect(lines.join('')).not.toContain(canary);
  });

  it('redacts what a child logger is bound to', () => {
    const { log, lines } = openLog();
    log.child({ token: canary }).info('bound');
    expect(lines.join('')).toContain('bound');
    expect(lines.join('')).not.toContain(canary);
  });

  it('writes name, message, code, cause and stack of an error, and none of its other properties', () => {
    const { log, lines } = openLog();
    const cause = Object.assign(new Error('the cause'), { code: 'ECONNRESET', response: { body: canary } });
    const error = Object.assign(new TypeError('the error', { cause }), {
      request: { headers: canary },
      config: canary,
    });
    log.error({ err: error }, 'it failed');
    const { err } = JSON.parse(lines[0] ?? '');
    expect(err).toMatchObject({
      name: 'TypeError',
      message: 'the error',
      cause: { message: 'the cause', code: 'ECONNRESET' },
    });
    expect(err.stack).toContain('log.test.ts');
    expect(lines.join('')).not.toContain(canary);
  });

  it.each([
    ['a string', 'READONLY You can not write', 'READONLY You can not write'],
    ['a number', 5, '5'],
  ])('writes a thrown value that is %s as text', (_kind, thrown, text) => {
    const { log, lines } = openLog();
    log.error({ err: thrown }, 'it failed');
    expect(JSON.parse(lines[0] ?? '').err).toBe(text);
  });

  it('writes a thrown object that only looks like an error as one, and no property of any other object', () => {
    const { log, lines } = openLog();
    log.error({ err: { name: 'ReplyError', message: 'OOM command not allowed', command: canary } }, 'it failed');
    log.error({ err: { command: canary } }, 'it failed');
    log.error({ err: Object.create(null) }, 'it failed');
    const [like, other, bare] = lines.map((line) => JSON.parse(line).err);
    expect(like).toEqual({ name: 'ReplyError', message: 'OOM command not allowed' });
    expect([other, bare]).toEqual(['Object without a message', 'object without a message']);
    expect(lines.join('')).not.toContain(canary);
  });

  it('keeps names that are not secret', () => {
    const { log, lines } = openLog();
    log.info({ serial: 'SN-1', requestId: 'r-1', tokenHash: 'sha256:aa' }, 'vended');
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ serial: 'SN-1', requestId: 'r-1', tokenHash: 'sha256:aa' });
  });
});

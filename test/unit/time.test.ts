import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { defaultLimits } from '../../broker/limits.ts';
import { Session } from '../../broker/session.ts';
import { createTimeAnswers, type TimeSigner } from '../../broker/time-answers.ts';
import { encodeTime, isNonce, nonceOfTime, signedTimeBytes } from '../../protocol/time.ts';
import { createLog } from '../../runtime/log.ts';
import { lacks } from '../support/lacks.ts';
import { goldenSigner, goldenTime, isTimeOf } from '../support/time.ts';

const { nonce, time } = goldenTime;
const signature = Buffer.from(goldenTime.signature, 'hex');
const page = readFileSync(join(import.meta.dirname, '../../docs/protocol.md'), 'utf8');

describe('the signed time', () => {
  it('is the purpose, the nonce and eight bytes of seconds, as in the test vector', () => {
    const bytes = signedTimeBytes(nonce, time);
    expect(bytes.toString('hex')).toBe(goldenTime.signed);
    expect(createHash('sha256').update(bytes).digest('hex')).toBe(goldenTime.sha256);
    expect(
      signedTimeBytes(nonce, 2 ** 33)
        .subarray(-8)
        .toString('hex'),
    ).toBe('0000000200000000');
  });

  it('is written as the golden messages are, in JSON and CBOR', () => {
    expect(encodeTime(time, signature, 'json').toString()).toBe(goldenTime.json);
    expect(encodeTime(time, signature, 'cbor').toString('hex')).toBe(goldenTime.cbor);
  });

  it('stands on docs/protocol.md as in the test vector', () => {
    for (const value of Object.values(goldenTime)) expect(page).toContain(String(value).trim());
  });

  it('verifies with the pinned key, and with another nonce, another time or another key not', () => {
    const { publicKeyPem } = goldenTime;
    expect(isTimeOf(nonce, time, signature, publicKeyPem)).toBe(true);
    expect(isTimeOf(nonce.replace('0', '1'), time, signature, publicKeyPem)).toBe(false);
    expect(isTimeOf(nonce, time + 1, signature, publicKeyPem)).toBe(false);
    // one character more of the nonce, one byte less of the time: other bytes
    expect(isTimeOf(`${nonce}0`, time, signature, publicKeyPem)).toBe(false);
  });

  it.skipIf(['openssl', 'jq', 'xxd'].some(lacks))('is verified by the commands of docs/protocol.md', () => {
    const [, commands = ''] = /<!-- verify -->\n```sh\n([\s\S]+?)```/.exec(page) ?? [];
    const folder = mkdtempSync(join(tmpdir(), 'cvm-time-'));
    try {
      writeFileSync(join(folder, 'time.pub'), goldenTime.publicKeyPem);
      const verify = (reply: string) =>
        execFileSync('sh', ['-ec', commands], {
          cwd: folder,
          env: { ...process.env, nonce, reply },
          stdio: ['ignore', 'pipe', 'pipe'],
        }).toString();
      expect(verify(goldenTime.json)).toContain('Verified OK');
      expect(() => verify(goldenTime.json.replace(String(time), String(time + 1)))).toThrow();
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

describe('a nonce', () => {
  it.each([
    ['8 bytes in base64url', 'AAAAAAAAAAA'],
    ['32 bytes in base64url', 'A'.repeat(43)],
    ['8 bytes in hex', '0'.repeat(16)],
    ['32 bytes in hex', 'f'.repeat(64)],
    ['with every kind of character', 'aZ09-_aZ09-_'],
  ])('is taken: %s', (_what, text) => {
    expect(isNonce(text)).toBe(true);
  });

  it.each([
    ['empty', ''],
    ['too short', 'A'.repeat(10)],
    ['too long', 'A'.repeat(65)],
    ['base64 that is not base64url', 'AAAAAAAA+A=='],
    ['a line end behind it', `${'A'.repeat(16)}\n`],
    ['letters of another alphabet', 'ааааааааааааааа'],
  ])('is refused: %s', (_what, text) => {
    expect(isNonce(text)).toBe(false);
  });

  it('is one level of the topic', () => {
    expect(nonceOfTime('cvm/time/abc')).toBe('abc');
    expect([nonceOfTime('cvm/time'), nonceOfTime('cvm/time/a/b'), nonceOfTime('cvm/request/a')]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
  });
});

describe('answers to questions for the time', () => {
  let clock = 0;
  let logged = '';
  afterEach(() => {
    clock = 0;
    logged = '';
  });
  const log = createLog('error', {
    write(line: string) {
      logged += line;
    },
  });
  const answersOf = (signer: TimeSigner) => createTimeAnswers(signer, { ...defaultLimits, log }, () => clock);
  const connection = () =>
    new Session({
      remoteAddress: '127.0.0.1',
      address: '127.0.0.1',
      send: async () => {},
      deliver: async () => {},
      onVerified() {},
    });

  it('are signed for their nonce, in whole seconds', () => {
    const answer = answersOf(goldenSigner).answer(connection(), nonce, time * 1000 + 999);
    if ('problem' in answer) throw new Error(answer.problem.message);
    expect(answer.time).toBe(time);
    expect(isTimeOf(nonce, time, answer.signature, goldenTime.publicKeyPem)).toBe(true);
  });

  it('are few for each connection, and come back with time; another connection has its own', () => {
    let signed = 0;
    const sign = () => {
      signed++;
      return Buffer.alloc(0);
    };
    const answers = answersOf({ ...goldenSigner, sign });
    const [one, other] = [connection(), connection()];
    const ask = (session: Session) => answers.answer(session, nonce, time * 1000);
    const heard = Array.from({ length: 100 }, () => ask(one));
    expect(signed).toBe(defaultLimits.timeQuestions.burst);
    expect(heard.at(-1)).toMatchObject({ problem: { code: 'Throttled', retryAfterSeconds: 10 } });
    expect(ask(other)).not.toHaveProperty('problem');
    clock += 10_000;
    expect(ask(one)).not.toHaveProperty('problem');
    expect(ask(one)).toMatchObject({ problem: { code: 'Throttled' } });
  });

  it('are refused in words where the nonce has a wrong form, and nothing is signed', () => {
    const sign = () => {
      throw new Error('nothing is signed');
    };
    expect(answersOf({ ...goldenSigner, sign }).answer(connection(), 'short', 0)).toMatchObject({
      problem: { code: 'InvalidRequest', message: expect.stringContaining('11 to 64') },
    });
  });

  it('are refused while the clock of the gateway is wrong, which the operator is told, but not for each question', () => {
    const answers = answersOf({ ...goldenSigner, whyDoubted: () => 'it shows 1970' });
    for (const session of [connection(), connection()])
      expect(answers.answer(session, nonce, 0)).toMatchObject({
        problem: { code: 'UpstreamUnavailable', retryAfterSeconds: 300 },
      });
    expect(logged.trim().split('\n')).toHaveLength(1);
    expect(JSON.parse(logged)).toMatchObject({ reason: 'it shows 1970', cure: expect.stringContaining('NTP') });
    clock += 600_000;
    answers.answer(connection(), nonce, 0);
    expect(logged.trim().split('\n')).toHaveLength(2);
  });
});

import { describe, expect, it } from 'vitest';
import { maxRequestBytes, parseRequest } from '../../protocol/request.ts';

const parse = (text: string) => parseRequest(Buffer.from(text));
const secret = 'a-token-that-must-not-be-quoted';

describe('a request', () => {
  it('needs a token only, and has defaults for the rest', () => {
    expect(parse(`{"token":"${secret}"}`)).toEqual({ ok: true, request: { token: secret, key: 'rsa', format: 'pem' } });
  });

  it('may be empty of a token, which CONNECT may have carried', () => {
    expect(parse('{}')).toEqual({ ok: true, request: { key: 'rsa', format: 'pem' } });
  });

  it('may have keys that nobody knows yet', () => {
    expect(parse('{"token":"t","later":{"a":[1]},"__proto__":{"key":"ec"}}')).toMatchObject({
      ok: true,
      request: { key: 'rsa' },
    });
  });

  it.each([
    ['nothing', ''],
    ['not JSON', 'token=1'],
    ['half an object', `{"token":"${secret}"`],
    ['an array', `["${secret}"]`],
    ['a string', `"${secret}"`],
    ['null', 'null'],
    ['a number as token', '{"token":123}'],
    ['an empty token', '{"token":""}'],
    ['an unknown key kind', `{"token":"${secret}","key":"dsa"}`],
    ['an unknown format', `{"token":"${secret}","format":"jks"}`],
    ['an object as CSR', `{"token":"${secret}","csr":{}}`],
    ['an id of 37 characters', `{"token":"${secret}","id":"${'x'.repeat(37)}"}`],
  ])('is refused when it is %s, without quoting it', (_name, text) => {
    const parsed = parse(text);
    expect(parsed).toMatchObject({ ok: false, problem: { code: 'InvalidRequest' } });
    expect(JSON.stringify(parsed)).not.toContain(secret);
  });

  it('is refused when it is not UTF-8', () => {
    expect(parseRequest(Buffer.from([0x7b, 0x22, 0xc0, 0xaf, 0x22, 0x7d]))).toMatchObject({
      ok: false,
      problem: { code: 'InvalidRequest' },
    });
  });

  it('is refused above 8 KiB, to the byte', () => {
    const filler = maxRequestBytes - '{"token":""}'.length;
    expect(parse(`{"token":"${'x'.repeat(filler)}"}`)).toMatchObject({ problem: { code: 'InvalidRequest' } });
    expect(parse(`{"token":"${'x'.repeat(filler + 1)}"}`)).toMatchObject({ problem: { code: 'PayloadTooLarge' } });
  });

  it('gets its id back in a refusal, where one could be read', () => {
    expect(parse('{"id":"r-1","token":5}')).toMatchObject({ ok: false, id: 'r-1' });
  });
});

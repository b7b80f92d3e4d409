import { encode } from 'cborg';
import { describe, expect, it } from 'vitest';
import { maxRequestBytes, parseRequest } from '../../protocol/cvm/request.ts';

const parse = (text: string) => parseRequest(Buffer.from(text));
const secret = 'a-token-that-must-not-be-quoted';

describe('a request', () => {
  it('needs a token only, and has defaults for the rest', () => {
    expect(parse(`{"token":"${secret}"}`)).toEqual({
      ok: true,
      request: { token: secret, key: 'rsa', format: 'pem', encoding: 'json' },
    });
  });

  it('may come without a token, which CONNECT may have carried', () => {
    expect(parse('{}')).toEqual({ ok: true, request: { key: 'rsa', format: 'pem', encoding: 'json' } });
  });

  it('may have unknown keys', () => {
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

describe('a request in CBOR', () => {
  it('is a map with the same keys, and may have its CSR as bytes', () => {
    const [token, csr] = [secret, new Uint8Array([0x30, 0x01])];
    expect(parseRequest(encode({ token, id: 'r', key: 'ec', format: 'der', later: [1], csr }))).toEqual({
      ok: true,
      request: { token, id: 'r', key: 'ec', format: 'der', csr: 'MAE=', encoding: 'cbor' },
    });
  });

  it('may be of indefinite length', () => {
    const map = Buffer.concat([Buffer.from([0xbf]), encode('token'), encode(secret), Buffer.from([0xff])]);
    expect(parseRequest(map)).toMatchObject({ ok: true, request: { token: secret } });
  });

  it('ignores keys that are bytes, numbers or lists, even where they would read like a known key as text', () => {
    const map = new Map<unknown, unknown>([
      [Buffer.from('token'), secret],
      [['token'], secret],
      [7, secret],
    ]);
    expect(parseRequest(encode(map))).toEqual({
      ok: true,
      request: { key: 'rsa', format: 'pem', encoding: 'cbor' },
    });
  });

  it('gets its id back in a refusal', () => {
    expect(parseRequest(encode({ id: 'r-1', token: 5 }))).toMatchObject({ ok: false, id: 'r-1' });
  });

  it.each([
    ['half a map', encode({ token: secret }).subarray(0, 12)],
    ['two maps', Buffer.concat([encode({ token: secret }), encode({})])],
    ['a map with a key twice', Buffer.concat([Buffer.from([0xa2]), ...Array(4).fill(encode('token'))])],
    ['a map that announces more than there is', Buffer.from([0xbb, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff])],
    ['a map in a tag', Buffer.from([0xa1, 0x61, 0x61, 0xc1, 0x01])],
    ['bytes as token', encode({ token: Buffer.from(secret) })],
    ['a number as CSR', encode({ token: secret, csr: 1 })],
    ['text that is not UTF-8', Buffer.from([0xa1, 0x62, 0xc0, 0xaf, 0x01])],
  ])('is refused when it is %s, without quoting it', (_name, payload) => {
    const parsed = parseRequest(payload);
    expect(parsed).toMatchObject({ ok: false, problem: { code: 'InvalidRequest' } });
    expect(JSON.stringify(parsed)).not.toContain(secret);
  });
});

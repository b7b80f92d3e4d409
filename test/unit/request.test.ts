import { encode } from 'cborg';
import { describe, expect, it } from 'vitest';
import { parseRequest } from '../../protocol/cvm/request.ts';
import { maxPayloadBytes } from '../../protocol/dialect.ts';

const parse = (text: string) => parseRequest(Buffer.from(text));
const secret = 'a-token-that-must-not-be-quoted';
const defaults = { key: 'rsa', format: 'pem', rootCa: true, pending: true, part: 0, parameters: {} };

describe('a request', () => {
  it('needs a token only, and has defaults for the rest', () => {
    expect(parse(`{"token":"${secret}"}`)).toEqual({
      ok: true,
      request: { token: secret, ...defaults, encoding: 'json' },
    });
  });

  it('may come without a token, which CONNECT may have carried', () => {
    expect(parse('{}')).toEqual({
      ok: true,
      request: { ...defaults, encoding: 'json' },
    });
  });

  it.each([
    ['JSON', (fields: object) => Buffer.from(JSON.stringify(fields))],
    ['CBOR', (fields: object) => Buffer.from(encode(fields))],
  ] as const)('may name a template and its parameters, in %s', (_encoding, write) => {
    const fields = { token: secret, template: 'pump', parameters: { SerialNumber: 'SN-1', Place: 'north' } };
    expect(parseRequest(write(fields))).toMatchObject({ ok: true, request: fields });
    const parameters = { Text: '\u0001'.repeat(1400) };
    expect(parseRequest(write({ id: '7', template: 'pump', parameters }))).toMatchObject({
      ok: false,
      problem: { code: 'PayloadTooLarge' },
    });
  });

  it('may have unknown keys', () => {
    expect(parse('{"token":"a-token-of-this-device","later":{"a":[1]},"__proto__":{"key":"ec"}}')).toMatchObject({
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
    ['NULs alone', '\0\0'],
    ['an empty token', '{"token":""}'],
    ['an unknown key kind', `{"token":"${secret}","key":"dsa"}`],
    ['an unknown format', `{"token":"${secret}","format":"jks"}`],
    ['the compact format in JSON', `{"token":"${secret}","format":"compact"}`],
    ['a text as maxPacket', `{"token":"${secret}","maxPacket":"128"}`],
    ['a maxPacket below 128', `{"token":"${secret}","maxPacket":127}`],
    ['a negative part', `{"token":"${secret}","part":-1}`],
    ['a text as rootCa', `{"token":"${secret}","rootCa":"no"}`],
    ['an object as CSR', `{"token":"${secret}","csr":{}}`],
    ['a template without a name', `{"token":"${secret}","template":""}`],
    ['a template with a name of 37 characters', `{"token":"${secret}","template":"${'x'.repeat(37)}"}`],
    ['a number as a parameter', `{"token":"${secret}","template":"t","parameters":{"${secret}":1}}`],
    ['an array of parameters', `{"token":"${secret}","template":"t","parameters":["${secret}"]}`],
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
    const filler = maxPayloadBytes - '{"token":""}'.length;
    expect(parse(`{"token":"${'x'.repeat(filler)}"}`)).toMatchObject({ problem: { code: 'InvalidRequest' } });
    expect(parse(`{"token":"${'x'.repeat(filler + 1)}"}`)).toMatchObject({ problem: { code: 'PayloadTooLarge' } });
  });

  it('may have NULs after its end: the rest of a buffer, or the end of a C string', () => {
    for (const nuls of ['\0', '\0'.repeat(500)])
      expect(parse(`{"token":"${secret}"}${nuls}`)).toMatchObject({ ok: true, request: { token: secret } });
  });

  it.each([
    ['{"token":"a",}', 'a key in double quotes is expected, at character 14'],
    ['{"token":"a"', 'the text ends before }, at character 13'],
    ['{"token":"a" "id":"1"}', 'a comma or } is expected, at character 14'],
    ['{"token" "a"}', 'a colon is expected, at character 10'],
    ["{'token':'a'}", 'a key in double quotes is expected, at character 2'],
    ['{"token":a}', 'a value is expected, at character 10'],
    ['{"csr":"-----BEGIN\nMIIB"}', 'control character: write a line end as \\n, at character 19'],
    ['{"token":"a\\q"}', 'begins no escape sequence: write it as \\\\, at character 12'],
    ['{"token":"a', 'the string that begins here does not end, at character 10'],
    ['{"token":[1,2}', 'a comma or ] is expected, at character 14'],
    ['{"token":"a"}{}', 'something follows the end of the JSON value, at character 14'],
    ['{"token":"a"}\0x', 'something follows the end of the JSON value, at character 14'],
    ['{"token":01}', 'a comma or } is expected, at character 11'],
    ['token=a', 'a value is expected, at character 1'],
    ['\0', 'the payload is empty'],
    [JSON.stringify('{"token":"a"}'), 'it was encoded twice; send the object itself'],
    ['{\0\0', 'the text ends before }, at character 2'],
    ['\0{"token":"a"}', 'a NUL stands before it; where that is the length of properties, the packet is one of MQTT 5'],
  ])('that is not JSON is told where and why: %j', (text, reason) => {
    expect(parse(text)).toMatchObject({ ok: false, problem: { message: expect.stringContaining(reason) } });
  });

  it.each([
    ['UTF-16, the lower byte first', Buffer.from('{"token":"a"}', 'utf16le')],
    ['the same with its mark', Buffer.from('\ufeff{"token":"a"}', 'utf16le')],
    ['the same of an empty object', Buffer.from('{}', 'utf16le')],
    ['UTF-16, the higher byte first', Buffer.from('{"token":"a"}', 'utf16le').swap16()],
    ['the same with its mark', Buffer.from('\ufeff{"token":"a"}', 'utf16le').swap16()],
  ])('in %s is told to be UTF-8', (_what, payload) => {
    const problem = { message: 'the payload is not JSON: the text is UTF-16; send UTF-8' };
    expect(parseRequest(payload)).toMatchObject({ ok: false, problem });
  });

  it('that is not JSON is told so wherever it is cut, and wherever a character is changed', () => {
    const whole = `{"token":"${secret}","n":[-1.5e3,true,null,{}],"t":"\\u00e4\\n"}`;
    for (let cut = 1; cut < whole.length; cut++) expect(parse(whole.slice(0, cut))).toMatchObject({ ok: false });
    for (let at = 0; at < whole.length; at++)
      for (const other of ['"', '\\', '{', ']', ',', ':', '\n', '0', '-', 'e', ' ']) {
        const text = whole.slice(0, at) + other + whole.slice(at + 1);
        const parsed = parse(text);
        const message = parsed.ok ? '' : parsed.problem.message;
        expect(message).not.toContain('cannot be read');
        expect(message).not.toContain(secret);
      }
  });

  it.each([
    ['a line end', `${secret}\n`, /a control character at position 32/],
    ['a NUL', `${secret.slice(0, 5)}\0${secret.slice(5)}`, /a control character at position 6/],
    ['a space', ` ${secret}`, /a space at position 1/],
    ['an umlaut', `${secret}ä`, /other than ASCII at position 32/],
    ['quotes around it', `"${secret}"`, /in quotes/],
    ['no characters', '', /is empty/],
    ['too many characters', 'x'.repeat(513), /513 characters; at most 512/],
  ])('whose token no device can have is refused, and says why: %s', (_what, token, reason) => {
    expect(parseRequest(Buffer.from(JSON.stringify({ token })))).toMatchObject({
      ok: false,
      problem: { code: 'InvalidRequest', message: expect.stringMatching(reason) },
    });
  });

  it('gets its id back in a refusal, where one could be read', () => {
    expect(parse('{"id":"r-1","token":5}')).toMatchObject({ ok: false, id: 'r-1' });
  });
});

describe('a request in CBOR', () => {
  it('is a map with the same keys, and may have its CSR as bytes', () => {
    const [token, csr] = [secret, new Uint8Array([0x30, 0x01])];
    expect(parseRequest(encode({ token, id: 'r', key: 'ec', format: 'der', rootCa: false, later: [1], csr }))).toEqual({
      ok: true,
      request: {
        token,
        id: 'r',
        key: 'ec',
        format: 'der',
        rootCa: false,
        pending: true,
        part: 0,
        parameters: {},
        csr: 'MAE=',
        encoding: 'cbor',
      },
    });
  });

  it('may be of indefinite length', () => {
    const map = Buffer.concat([Buffer.from([0xbf]), encode('token'), encode(secret), Buffer.from([0xff])]);
    expect(parseRequest(map)).toMatchObject({ ok: true, request: { token: secret } });
  });

  it('may have NULs after its end', () => {
    const padded = Buffer.concat([encode({ token: secret }), Buffer.alloc(300)]);
    expect(parseRequest(padded)).toMatchObject({ ok: true, request: { token: secret, encoding: 'cbor' } });
  });

  it('may begin with the tag that says "CBOR" (RFC 8949, section 3.4.6), and is answered in CBOR', () => {
    const tagged = Buffer.concat([Buffer.from('d9d9f7', 'hex'), encode({ token: secret })]);
    expect(parseRequest(tagged)).toMatchObject({ ok: true, request: { token: secret, encoding: 'cbor' } });
  });

  it('may have strings of indefinite length, also as values that are known', () => {
    const [head, tail] = [encode(secret.slice(0, 9)), encode(secret.slice(9))];
    const [open, end] = [Buffer.from([0x7f]), Buffer.from([0xff])];
    const map = Buffer.concat([Buffer.from([0xa1]), encode('token'), open, head, tail, end]);
    expect(parseRequest(map)).toMatchObject({ ok: true, request: { token: secret } });
  });

  it('may have its CSR as PEM in bytes', () => {
    const pem = '-----BEGIN CERTIFICATE REQUEST-----\nMAE=\n-----END CERTIFICATE REQUEST-----\n';
    expect(parseRequest(encode({ csr: Buffer.from(pem) }))).toMatchObject({ ok: true, request: { csr: pem } });
  });

  it.each([
    ['undefined', 'f7'],
    ['not a number', 'f97e00'],
    ['infinity', 'f97c00'],
    ['a date in a tag', 'c11a5f5e1000'],
    ['a tag in a tag', 'd9d9f7c100'],
    ['a bignum', 'c249010000000000000000'],
    ['bytes of indefinite length', '5f42010243030405ff'],
    ['an empty text of indefinite length', '7fff'],
    ['a list of indefinite length of such texts', '9f7f6161ff7fffff'],
    ['a simple value', 'f8ff'],
    ['a short simple value', 'e0'],
    ['a map with keys that are no text', 'a2f60141ff02'],
  ])('ignores an unknown key whatever its value is: %s', (_what, value) => {
    const map = Buffer.concat([
      Buffer.from([0xa2]),
      encode('later'),
      Buffer.from(value, 'hex'),
      encode('token'),
      encode(secret),
    ]);
    expect(parseRequest(map)).toEqual({
      ok: true,
      request: { token: secret, ...defaults, encoding: 'cbor' },
    });
  });

  it('that cannot be read is told why and at which byte, without quoting a key', () => {
    const twice = Buffer.concat([Buffer.from([0xa2]), ...[1, 2].flatMap((n) => [encode(secret), encode(n)])]);
    expect(parseRequest(twice)).toMatchObject({
      problem: { message: expect.stringMatching(/repeat map key, at byte \d+/) },
    });
    expect(JSON.stringify(parseRequest(twice))).not.toContain(secret);
    const followed = Buffer.concat([encode({ token: secret }), Buffer.from([0, 1])]);
    expect(parseRequest(followed)).toMatchObject({
      problem: { message: expect.stringMatching(/follows its map, at byte \d+/) },
    });
  });

  it('ignores keys that are bytes, numbers or lists, even where they would read like a known key as text', () => {
    const map = new Map<unknown, unknown>([
      [Buffer.from('token'), secret],
      [['token'], secret],
      [7, secret],
    ]);
    expect(parseRequest(encode(map))).toEqual({
      ok: true,
      request: { ...defaults, encoding: 'cbor' },
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
    ['a tag without a value', Buffer.from([0xa1, 0x61, 0x61, 0xc1])],
    ['a tag before the end of a map', Buffer.from([0xbf, 0xc1, 0xff])],
    ['a tag alone', Buffer.from([0xd9, 0xd9, 0xf7])],
    ['a string of indefinite length that does not end', Buffer.from([0xa1, 0x61, 0x61, 0x7f, 0x61, 0x61])],
    ['a text of indefinite length with bytes in it', Buffer.from([0xa1, 0x61, 0x61, 0x7f, 0x41, 0x61, 0xff])],
    ['a simple value that is cut off', Buffer.from([0xa1, 0x61, 0x61, 0xf8])],
    ['bytes as token', encode({ token: Buffer.from(secret) })],
    ['a number as CSR', encode({ token: secret, csr: 1 })],
    ['text that is not UTF-8', Buffer.from([0xa1, 0x62, 0xc0, 0xaf, 0x01])],
  ])('is refused when it is %s, without quoting it', (_name, payload) => {
    const parsed = parseRequest(payload);
    expect(parsed).toMatchObject({ ok: false, problem: { code: 'InvalidRequest' } });
    expect(JSON.stringify(parsed)).not.toContain(secret);
  });
});

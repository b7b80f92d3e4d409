import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { askOnce } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

/** A CBOR map of one or more pairs, encoded by hand: no encoder writes these. */
const map = (pairs: number, ...parts: number[][]) => Buffer.from([0xa0 + pairs, ...parts.flat()]);
const text = (value: string) => [0x60 + value.length, ...Buffer.from(value)];

describe.skipIf(lacks('redis-server'))('a request whose payload is hostile', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway();
  });
  afterAll(() => gateway?.close());

  it.each<[string, string | Buffer]>([
    [
      'has prototype pollution keys',
      '{"__proto__":{"key":"ec","polluted":1},"constructor":{"prototype":{"polluted":1}},"token":1}',
    ],
    ['is nested a thousand deep', `${'['.repeat(1000)}${']'.repeat(1000)}`],
    ['has objects where text belongs', '{"token":{"$ne":null},"csr":["x"],"key":{}}'],
    ['has a key twice', '{"token":"a","token":{"x":1}}'],
    ['is a number with a million digits of exponent', '{"token":1e999999}'],
    ['has a lone surrogate', '{"token":"\\ud800"}'],
    [
      'has prototype pollution keys in CBOR',
      map(
        3,
        text('__proto__'),
        [...map(1, text('polluted'), [1])],
        text('constructor'),
        [...map(1, text('polluted'), [1])],
        text('token'),
        [1],
      ),
    ],
    ['is nested eight thousand deep in CBOR', map(1, text('token'), Array(8000).fill(0x81), [1])],
    [
      'is nested eight thousand maps deep in CBOR',
      map(1, text('token'), Array(2600).fill([0xa1, 0x61, 0x61]).flat(), [1]),
    ],
    ['announces a text of 4 GiB in CBOR', map(1, text('token'), [0x7a, 0xff, 0xff, 0xff, 0xff])],
    ['announces a list of 2⁶⁴ entries in CBOR', map(1, text('token'), [0x9b, ...Array(8).fill(0xff)])],
    ['has a key twice in CBOR', map(2, text('token'), text('a'), text('token'), [1])],
  ])('is refused, and changes nothing, when it %s', async (_what, request) => {
    const reply = await askOnce(gateway.broker, 'hostile', request);
    expect(reply).toMatchObject({ status: 'rejected', errorCode: expect.stringMatching(/^Invalid(Request|Token)$/) });
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
    expect(await gateway.registry.find('hostile')).toBeUndefined();
  });

  const nests = (depth: number): [string, string][] => [
    ['lists', `${'['.repeat(depth)}${']'.repeat(depth)}`],
    ['objects', `${'{"a":'.repeat(depth)}1${'}'.repeat(depth)}`],
  ];
  const cborNests: [string, number[]][] = [
    ['lists in CBOR', [...Array(7900).fill(0x81), 1]],
    ['maps in CBOR', [...Array(2600).fill([0xa1, 0x61, 0x61]).flat(), 1]],
    ['tags in CBOR', [...Array(7900).fill(0xc6), 1]],
  ];
  const deepest = [...nests(3900).slice(0, 1), ...nests(1300).slice(1)];

  it.each<[string, string | Buffer]>([
    ...deepest.map(([what, nest]): [string, string] => [what, `{"token":${nest}}`]),
    ...cborNests.map(([what, nest]): [string, Buffer] => [what, map(1, text('token'), nest)]),
  ])('is refused, not guessed at, when its token is thousands of %s deep', async (_what, request) => {
    expect(await askOnce(gateway.broker, 'deep-token', request)).toMatchObject({ errorCode: 'InvalidRequest' });
  });

  it.each(deepest)('is processed although an unknown key holds thousands of nested %s', async (what, nest) => {
    const { serial, token } = await gateway.enrol(`deep-${what}`);
    const hostile = `{"extra":${nest},"token":${JSON.stringify(token)},"key":"dsa"}`;
    expect(await askOnce(gateway.broker, serial, hostile)).toMatchObject({
      errorCode: 'InvalidRequest',
      errorMessage: expect.stringContaining('"key"'),
    });
    const request = `{"extra":${nest},"token":${JSON.stringify(token)},"key":"ec"}`;
    expect(await askOnce(gateway.broker, serial, request)).toMatchObject({ status: 'accepted', thingName: serial });
  });

  it.each(cborNests)(
    'is answered although an unknown key holds thousands of nested %s, and the next request is served',
    async (what, nest) => {
      const { serial, token } = await gateway.enrol(`deep-${what.replaceAll(' ', '-')}`);
      const [reply] = [await askOnce(gateway.broker, serial, map(2, text('extra'), nest, text('token'), [1]))];
      expect(reply).toMatchObject({ status: 'rejected', errorCode: 'InvalidRequest' });
      expect(await askOnce(gateway.broker, serial, { token, key: 'ec' })).toMatchObject({ status: 'accepted' });
    },
  );
});

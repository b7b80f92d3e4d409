import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { askOnce } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

describe.skipIf(lacks('redis-server'))('a request whose JSON is hostile', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway();
  });
  afterAll(() => gateway?.close());

  it.each<[string, string]>([
    [
      'has prototype pollution keys',
      '{"__proto__":{"key":"ec","polluted":1},"constructor":{"prototype":{"polluted":1}},"token":1}',
    ],
    ['is nested a thousand deep', `${'['.repeat(1000)}${']'.repeat(1000)}`],
    ['has objects where text belongs', '{"token":{"$ne":null},"csr":["x"],"key":{}}'],
    ['has a key twice', '{"token":"a","token":{"x":1}}'],
    ['is a number with a million digits of exponent', '{"token":1e999999}'],
    ['has a lone surrogate', '{"token":"\\ud800"}'],
  ])('is refused, and changes nothing, when it %s', async (_what, request) => {
    const reply = await askOnce(gateway.broker, 'hostile', request);
    expect(reply).toMatchObject({ status: 'rejected', errorCode: expect.stringMatching(/^Invalid(Request|Token)$/) });
    expect(({} as { polluted?: number }).polluted).toBeUndefined();
    expect(await gateway.registry.find('hostile')).toBeUndefined();
  });
});

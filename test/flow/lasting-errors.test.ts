import { setTimeout as sleep } from 'node:timers/promises';
import {
  CreateTableCommand,
  DeleteTableCommand,
  waitUntilTableExists,
  waitUntilTableNotExists,
} from '@aws-sdk/client-dynamodb';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { askOnce } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

const comeBack = { status: 'rejected', errorCode: 'UpstreamUnavailable', statusCode: 503, retryAfter: 300 };
const TableName = 'cvm-devices';

/** What no repetition heals: a person has to act. */
describe.skipIf(lacks('redis-server'))('a lasting error of DynamoDB', () => {
  let gateway: Gateway;
  beforeEach(async () => {
    gateway = await startGateway({ logLevel: 'info' });
    // a gateway that works: the worker has met the table, and the broker trusts it
    await ask('first');
  });
  afterEach(() => gateway?.close());

  async function ask(serial: string) {
    const { token } = await gateway.enrol(serial);
    return askOnce(gateway.broker, serial, { token, key: 'ec' });
  }
  /** The lines at level error, and what they name as cure. */
  const cures = () =>
    gateway
      .logText()
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as { level: number; msg: string; cure?: string })
      .flatMap(({ level, msg, cure }) => (level >= 50 ? [cure ?? msg] : []));

  async function replaceTable(keys: { name: string; type: 'S' | 'N' } | undefined): Promise<void> {
    const limit = { client: gateway.dynamo, maxWaitTime: 60, minDelay: 1, maxDelay: 1 };
    await gateway.dynamo.send(new DeleteTableCommand({ TableName }));
    await waitUntilTableNotExists(limit, { TableName });
    if (keys === undefined) return;
    await gateway.dynamo.send(
      new CreateTableCommand({
        TableName,
        BillingMode: 'PAY_PER_REQUEST',
        KeySchema: [{ AttributeName: keys.name, KeyType: 'HASH' }],
        AttributeDefinitions: [{ AttributeName: keys.name, AttributeType: keys.type }],
      }),
    );
    await waitUntilTableExists(limit, { TableName });
  }

  it.each([
    ['the table is missing', undefined, /no table "cvm-devices".*cvm aws setup/],
    ['the table has another key', { name: 'orderId', type: 'S' as const }, /partition key "productId"/],
    ['the key of the table is no string', { name: 'productId', type: 'N' as const }, /partition key "productId"/],
  ])('is answered with UpstreamUnavailable, and the log has its cure: %s', async (_what, keys, cure) => {
    const devices = await Promise.all(['a', 'b', 'c', 'd', 'e', 'f'].map((serial) => gateway.enrol(serial)));
    await replaceTable(keys);
    const answers = devices.map(({ serial, token }) => askOnce(gateway.broker, serial, { token, key: 'ec' }));
    for (const answer of await Promise.all(answers)) expect(answer).toMatchObject(comeBack);
    // the roster may have been read while the table was replaced
    await expect.poll(() => cures().filter((each) => cure.test(each)).length).toBeGreaterThan(0);
    // once for each call that is refused, however many devices ask
    expect(cures().length).toBeLessThan(devices.length);
  });

  it('is answered with UpstreamUnavailable also when the table has to tell anew which gateways are approved', async () => {
    const device = await gateway.enrol('late');
    await replaceTable(undefined);
    // a worker goes by what it has read for ten seconds
    await sleep(10_500);
    expect(await askOnce(gateway.broker, device.serial, { token: device.token, key: 'ec' })).toMatchObject(comeBack);
    await expect.poll(() => cures().join()).toMatch(/cvm aws setup/);
  });

  it.each([
    ['AccessDeniedException', /cvm aws policy/],
    ['UnrecognizedClientException', /credentials are not valid/],
    ['ExpiredTokenException', /renew/],
    ['InvalidSignatureException', /clock/],
    ['RequestTimeTooSkewed', /clock/],
  ])('is answered with UpstreamUnavailable, and the log has its cure: %s', async (errorName, cure) => {
    const devices = await Promise.all(['a', 'b', 'c', 'd', 'e', 'f'].map((serial) => gateway.enrol(serial)));
    gateway.aws.faults.set([{ operation: 'DynamoDB', kind: 'fail-before', errorName, status: 400 }]);
    const answers = devices.map(({ serial, token }) => askOnce(gateway.broker, serial, { token, key: 'ec' }));
    for (const answer of await Promise.all(answers)) expect(answer).toMatchObject(comeBack);
    await expect.poll(cures).not.toEqual([]);
    const said = cures();
    for (const each of said) expect(each).toMatch(cure);
    expect(said.length).toBeLessThan(devices.length);
    // the cure is applied: the same token works
    gateway.aws.faults.set([]);
    await gateway.queueIsEmpty();
    const [{ serial, token } = { serial: '', token: '' }] = devices;
    expect(await askOnce(gateway.broker, serial, { token, key: 'ec' })).toMatchObject({ status: 'accepted' });
  });
});

import { execFileSync } from 'node:child_process';
import { DescribeThingCommand, ListCertificatesCommand } from '@aws-sdk/client-iot';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ackTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { askOnce, connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

const secret = 'the-token-that-must-not-be-logged';
const weakCsr = () =>
  execFileSync('sh', ['-c', 'openssl req -new -newkey rsa:1024 -nodes -keyout /dev/null -subj /CN=weak'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  }).toString();

describe.skipIf(lacks('redis-server'))('bad input', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway({ logLevel: 'trace' });
  });
  afterAll(() => gateway?.close());

  const certificates = async () =>
    (await gateway.iot.send(new ListCertificatesCommand({ pageSize: 250 }))).certificates?.length;
  /** by the broker itself, and by a worker */
  const refusals = async (code: string) =>
    (await gateway.broker.metric('cvm_broker_messages_refused_total', { error_code: code })) +
    (await gateway.broker.metric('cvm_broker_replies_total', { status: 'rejected', error_code: code }));

  it.each<[string, string, number, () => string | object]>([
    ['not JSON', 'InvalidRequest', 400, () => `token=${secret}`],
    ['not an object', 'InvalidRequest', 400, () => `["${secret}"]`],
    ['of wrong types', 'InvalidRequest', 400, () => ({ token: [secret] })],
    ['over 8 KiB', 'PayloadTooLarge', 413, () => ({ token: secret, filler: 'x'.repeat(9000) })],
    ['without a token', 'InvalidToken', 401, () => ({})],
    ['with a wrong token', 'InvalidToken', 401, () => ({ token: secret })],
    ['with a CSR that does not parse', 'InvalidCsr', 422, () => ({ token: secret, csr: 'AAAA' })],
    ['with a CSR of a weak key', 'InvalidCsr', 422, () => ({ token: secret, csr: weakCsr() })],
  ])(
    'that is %s is rejected as %s %i on the same connection, counted, logged without secrets, and leaves no trace in AWS',
    async (name, errorCode, statusCode, request) => {
      const { serial } = await gateway.enrol(`bad-${name.replaceAll(' ', '-')}`);
      const [before, counted] = [await certificates(), await refusals(errorCode)];
      const reply = await askOnce(gateway.broker, serial, request());
      expect(reply).toEqual({
        status: 'rejected',
        statusCode,
        errorCode,
        errorMessage: expect.stringMatching(/.{10,}/),
      });
      expect(await refusals(errorCode)).toBe(counted + 1);
      // a worker writes it down when it has handed over the reply
      await expect.poll(() => gateway.logText()).toMatch(new RegExp(`"serial":"${serial}".*"${errorCode}"`));
      expect(gateway.logText()).not.toContain(secret);
      expect(await certificates()).toBe(before);
      await expect(gateway.iot.send(new DescribeThingCommand({ thingName: serial }))).rejects.toMatchObject({
        name: 'ResourceNotFoundException',
      });
    },
  );

  it.each(['Token', 'TOKEN', 'access_token', 'registrationToken'])(
    'the token under the key %s is no token, and the rejection names the right key',
    async (key) => {
      const { serial } = await gateway.enrol(`misspelt-${key}`);
      const errorMessage = `the request has no token: it has "${key}"; the key is "token"`;
      const reply = await askOnce(gateway.broker, serial, { [key]: secret });
      expect(reply).toMatchObject({ errorCode: 'InvalidToken', errorMessage });
      expect(gateway.logText()).not.toContain(secret);
    },
  );

  it.each(['a b', 'ä', 'a.b', 'x'.repeat(129), 'a"b'])(
    'a serial outside the alphabet is rejected with the rule: %j',
    async (serial) => {
      expect(await askOnce(gateway.broker, serial, { token: secret })).toMatchObject({
        statusCode: 400,
        errorCode: 'InvalidRequest',
        errorMessage: expect.stringContaining('A-Z'),
      });
    },
  );

  it("another device's serial in the topic is rejected as Forbidden, and the own serial still works", async () => {
    const [mine, other] = [await gateway.enrol('mine'), await gateway.enrol('other')];
    const device = await connectDevice(gateway.broker, { username: mine.serial, password: mine.token });
    await device.client.publishAsync(requestTopic(other.serial), JSON.stringify({ token: other.token }), { qos: 1 });
    expect(await device.next()).toMatchObject({ statusCode: 403, errorCode: 'Forbidden' });
    await device.client.publishAsync(requestTopic(mine.serial), '{"key":"ec"}', { qos: 1 });
    expect(await device.next()).toMatchObject({ status: 'accepted', thingName: mine.serial });
    await device.client.endAsync(true);
    expect(await gateway.registry.find(other.serial)).toMatchObject({ state: 'enrolled' });
  });

  it('a retained request is rejected, and nothing is retained', async () => {
    const { serial, token } = await gateway.enrol('retained');
    const device = await connectDevice(gateway.broker);
    await device.client.publishAsync(requestTopic(serial), JSON.stringify({ token }), { qos: 1, retain: true });
    expect(await device.next()).toMatchObject({
      errorCode: 'InvalidRequest',
      errorMessage: expect.stringContaining('retain'),
    });
    await device.client.endAsync(true);
  });

  it('an acknowledgement without a presented token, or a retained one, is rejected with the reason', async () => {
    const acknowledge = async (retain: boolean) => {
      const device = await connectDevice(gateway.broker);
      const payload = JSON.stringify({ certificateId: '0'.repeat(64) });
      await device.client.publishAsync(ackTopic('acknowledged'), payload, { qos: 1, retain });
      const reply = await device.next();
      await device.client.endAsync(true);
      return reply;
    };
    expect(await acknowledge(false)).toMatchObject({
      errorCode: 'InvalidToken',
      errorMessage: expect.stringContaining('presented the token'),
    });
    expect(await acknowledge(true)).toMatchObject({
      errorCode: 'InvalidRequest',
      errorMessage: expect.stringContaining('retain'),
    });
  });

  it('a blocked device with the right token is rejected as Forbidden; with a wrong token it gets no hint', async () => {
    const { serial, token } = await gateway.enrol('blocked');
    const { UpdateItemCommand } = await import('@aws-sdk/client-dynamodb');
    await gateway.dynamo.send(
      new UpdateItemCommand({
        TableName: 'cvm-devices',
        Key: { productId: { S: serial } },
        UpdateExpression: 'SET applyState = :s',
        ExpressionAttributeValues: { ':s': { N: '-2' } },
      }),
    );
    expect(await askOnce(gateway.broker, serial, { token })).toMatchObject({ statusCode: 403, errorCode: 'Forbidden' });
    expect(await askOnce(gateway.broker, serial, { token: secret })).toMatchObject({
      statusCode: 401,
      errorCode: 'InvalidToken',
    });
  });

  it('the same request, repeated while the first waits, is queued once, and answered under each id', async () => {
    const { serial, token } = await gateway.enrol('impatient');
    gateway.aws.faults.set([{ operation: 'CreateCertificateFromCsr', kind: 'latency', ms: 400, times: 1 }]);
    const device = await connectDevice(gateway.broker);
    const received = () => gateway.broker.metric('cvm_broker_messages_received_total', { kind: 'request' });
    const before = await received();
    for (const id of ['1', '2', '3'])
      await device.client.publishAsync(requestTopic(serial), JSON.stringify({ token, id, key: 'ec' }), { qos: 1 });
    const replies = [await device.next(), await device.next(), await device.next()];
    expect(replies.map(({ id, status }) => [id, status])).toEqual(['1', '2', '3'].map((id) => [id, 'accepted']));
    expect(new Set(replies.map(({ certificateId }) => certificateId)).size).toBe(1);
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(device.heard).toEqual([]);
    expect(await received()).toBe(before + 3);
    await device.client.endAsync(true);
  });
});

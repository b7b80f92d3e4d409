import { type AttributeValue, GetItemCommand, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { ListThingPrincipalsCommand } from '@aws-sdk/client-iot';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ownerTagOf } from '../../worker/ec-key.ts';
import { sweep } from '../../worker/sweep.ts';
import type { Finding } from '../../worker/sweep-findings.ts';
import { askOnce } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

type Item = Record<string, AttributeValue>;
const table = 'cvm-devices';

describe.skipIf(lacks('redis-server'))('after a store went back in time', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway();
  });
  afterAll(() => gateway?.close());

  const ask = (serial: string, token: string) => askOnce(gateway.broker, serial, { token, key: 'ec' });
  const readItem = async (serial: string): Promise<Item> => {
    const key = { productId: { S: serial } };
    return (await gateway.dynamo.send(new GetItemCommand({ TableName: table, Key: key }))).Item ?? {};
  };
  const restore = (item: Item) => gateway.dynamo.send(new PutItemCommand({ TableName: table, Item: item }));
  const certificatesOf = async (thingName: string) =>
    ((await gateway.iot.send(new ListThingPrincipalsCommand({ thingName }))).principals ?? []).map((arn) =>
      arn.slice(arn.lastIndexOf('/') + 1),
    );
  const flushRedis = async () => {
    const redis = new Redis(gateway.redis.url);
    await redis.flushall();
    await redis.quit();
  };
  const sweepLater = async () => {
    const found: Finding[] = [];
    const { registry, issuer } = gateway.asWorker;
    const spans = { graceMs: 900_000, replayWindowMs: 86_400_000 };
    const now = () => Date.now() + 3_600_000;
    const report = (finding: Finding) => void found.push(finding);
    await sweep({ registry, issuer, ownerTag: ownerTagOf(table), table, ...spans, dryRun: false, now, report });
    return found;
  };

  it('the table, a spent token that vends again leaves its device one certificate', async () => {
    const { serial, token } = await gateway.enrol('back-1');
    const backup = await readItem(serial);
    const first = await ask(serial, token);
    await gateway.queueIsEmpty();
    await restore(backup);
    const second = await ask(serial, token);
    expect(second).toMatchObject({ status: 'accepted' });
    expect(second.certificateId).not.toBe(first.certificateId);
    expect(await certificatesOf(serial)).toEqual([second.certificateId]);
    expect(await gateway.registry.find(serial)).toMatchObject({ certificateId: second.certificateId });
    await expect.poll(gateway.logText).toContain('was the table restored?');
  });

  it('the table and Redis, the sweep reports what the table does not name, and a reissue makes it good', async () => {
    const { serial, token } = await gateway.enrol('back-2');
    const backup = await readItem(serial);
    const { certificateId = '' } = await ask(serial, token);
    await gateway.queueIsEmpty();
    await restore(backup);
    await flushRedis();
    expect(await sweepLater()).toContainEqual({
      kind: 'certificate-unexpected',
      serial,
      certificateId,
      action: 'reported',
      cure: `cvm devices reissue ${serial}: its next certificate replaces all others`,
    });
    // the device goes on with it
    expect(await certificatesOf(serial)).toEqual([certificateId]);
    const next = await ask(serial, await gateway.reissueOnRoster(serial));
    expect(await certificatesOf(serial)).toEqual([next.certificateId]);
    expect(await sweepLater()).toEqual([]);
  });

  it('Redis, a device that asks again gets the same certificate and the same private key', async () => {
    const { serial, token } = await gateway.enrol('back-3');
    const first = await ask(serial, token);
    await flushRedis();
    expect(await ask(serial, token)).toMatchObject({
      status: 'accepted',
      certificateId: first.certificateId,
      privateKey: first.privateKey,
    });
  });
});

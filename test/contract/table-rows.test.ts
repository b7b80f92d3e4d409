import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AttributeValue, DynamoDBClient, GetItemCommand, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type AwsLocal, startAwsLocal } from '../../aws-local/main.ts';
import { hashToken } from '../../protocol/token.ts';
import { ownIntentsOf } from '../../registry/create-intents.ts';
import type { Device } from '../../registry/device.ts';
import { deviceOf } from '../../registry/dynamodb/device-attributes.ts';
import { ensureTable } from '../../registry/dynamodb/setup.ts';
import type { Registry } from '../../registry/registry.ts';
import { openTable } from '../support/association-table.ts';

type Item = Record<string, AttributeValue>;
const table = 'devices';

describe('rows of the table that are no devices', () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'cvm-rows-'));
  let aws: AwsLocal;
  let client: DynamoDBClient;
  beforeAll(async () => {
    aws = await startAwsLocal({ dataDir, httpPort: 0, mqttPort: 0, quotas: 'off' });
    const credentials = { accessKeyId: 'x', secretAccessKey: 'x' };
    client = new DynamoDBClient({ region: 'us-east-1', endpoint: aws.httpUrl, credentials });
    await ensureTable(openTable(client, table).table);
  });
  afterAll(async () => {
    client.destroy();
    await aws.close();
    rmSync(dataDir, { recursive: true, force: true });
  });

  it('announcements of any writer are numbered without a gap, and name each serial once', async () => {
    const { changes } = openTable(client, table);
    expect(await changes.latest()).toBe(0);
    await changes.announce(['one', 'two', 'one']);
    await Promise.all(['a', 'b', 'c', 'd'].map((serial) => changes.announce([serial])));
    expect(await changes.latest()).toBe(5);
    expect([...(await changes.read(1))].sort()).toEqual(['one', 'two']);
    const rest = await Promise.all([2, 3, 4, 5].map((number) => changes.read(number)));
    expect(rest.flat().sort()).toEqual(['a', 'b', 'c', 'd']);
    expect(await changes.read(6)).toBe('not-yet');
  });

  it('an announcement of nothing is counted, and names no serial', async () => {
    const { changes } = openTable(client, table);
    const before = await changes.latest();
    await changes.advance();
    expect(await changes.latest()).toBe(before + 1);
    expect(await changes.read(before + 1)).toEqual([]);
  });

  it('a restoration of the table is known from the latest time at which it was noted', async () => {
    const { restoration } = openTable(client, table);
    expect(await restoration.latest()).toBeUndefined();
    for (const at of [5, 9, 7]) await restoration.note(at);
    expect(await restoration.latest()).toBe(9);
  });

  it('an announcement is overwritten when a thousand others have followed', async () => {
    const { changes } = openTable(client, table);
    const before = await changes.latest();
    await changes.announce(Array.from({ length: 1500 }, (_, index) => `many-${index}`));
    expect(await changes.latest()).toBe(before + 2);
    for (let start = 0; start < 1000; start += 50)
      await Promise.all(Array.from({ length: 50 }, (_, index) => changes.announce([`s${start + index}`])));
    expect(await changes.read(before + 1)).toBe('overwritten');
  });

  it('none of them is a device', async () => {
    const serials: string[] = [];
    for await (const { serial } of openTable(client, table).registry.list()) serials.push(serial);
    expect(serials).toEqual([]);
  });
});

describe('rows that other versions and other tools wrote', () => {
  const [token, now, leaseMs] = [hashToken('the-right-token-of-the-device'), 1_700_000_000_000, 10_000];
  const dataDir = mkdtempSync(join(tmpdir(), 'cvm-old-rows-'));
  let aws: AwsLocal;
  let client: DynamoDBClient;
  let registry: Registry;
  let count = 0;
  beforeAll(async () => {
    aws = await startAwsLocal({ dataDir, httpPort: 0, mqttPort: 0, quotas: 'off' });
    const credentials = { accessKeyId: 'x', secretAccessKey: 'x' };
    client = new DynamoDBClient({ region: 'us-east-1', endpoint: aws.httpUrl, credentials });
    const opened = openTable(client, table);
    registry = opened.registry;
    await ensureTable(opened.table);
  });
  afterAll(async () => {
    client.destroy();
    await aws.close();
    rmSync(dataDir, { recursive: true, force: true });
  });

  type State = 0 | 1 | -1 | -2;
  /** A row of the reference design: the five fields and nothing else. */
  async function write(applyState: State, more: Item = {}): Promise<string> {
    const serial = `OLD:${++count}`;
    const five = {
      productId: { S: serial },
      accessToken: { S: token },
      timestamp: { N: String(now) },
      applyState: { N: String(applyState) },
    };
    await client.send(new PutItemCommand({ TableName: table, Item: { ...five, ...more } }));
    return serial;
  }
  async function found(serial: string): Promise<Device> {
    const device = await registry.find(serial);
    if (device === undefined) throw new Error(`${serial} is not there`);
    return device;
  }
  /** The attributes of a row that name its certificate. */
  async function spelled(serial: string): Promise<Item> {
    const { Item = {} } = await client.send(
      new GetItemCommand({ TableName: table, Key: { productId: { S: serial } } }),
    );
    return Object.fromEntries(Object.entries(Item).filter(([name]) => name.toLowerCase() === 'certid'));
  }
  const certId = { certId: { S: 'c' } };
  const attempt = { attempt: { N: '1' } };
  const claim = (serial: string) => registry.claim({ serial, tokenHash: token, now, leaseMs });

  describe('the certificate is in certID; a row that has it in certId', () => {
    it('is read, and can be claimed, recorded in and finished; from then on it has certID', async () => {
      const serial = await write(0, certId);
      expect(await claim(serial)).toMatchObject({ outcome: 'claimed', device: { certificateId: 'c' } });
      expect(await spelled(serial)).toEqual({ certId: { S: 'c' } });
      expect(await registry.recordCertificate(await found(serial), { certificateId: 'd', keptReply: 'c2VhbGVk' })).toBe(
        'recorded',
      );
      expect(await spelled(serial)).toEqual({ certID: { S: 'd' } });
      expect(await registry.finish(await found(serial), 'c', now)).toBe(false);
      expect(await registry.finish(await found(serial), 'd', now)).toBe(true);
      expect(await found(serial)).toMatchObject({ state: 'registered', certificateId: 'd' });
    });

    it('is finished by an attempt that recorded its certificate before', async () => {
      const serial = await write(1, { ...certId, ...attempt });
      expect(await registry.finish(await found(serial), 'x', now)).toBe(false);
      expect(await registry.finish(await found(serial), 'c', now)).toBe(true);
    });

    it('loses it when the attempt discards the certificate', async () => {
      const serial = await write(1, { ...certId, ...attempt });
      expect(await registry.discardCertificate(await found(serial), 'x')).toBe(false);
      expect(await registry.discardCertificate(await found(serial), 'c')).toBe(true);
      expect(await spelled(serial)).toEqual({});
      expect(await found(serial)).toMatchObject({ pendingDeletion: ['c'] });
    });

    it('takes the acknowledgement of this certificate only', async () => {
      const serial = await write(-1, certId);
      expect(await registry.acknowledge(serial, token, 'x', now)).toBe(false);
      expect(await registry.acknowledge(serial, token, 'c', now)).toBe(true);
    });

    it('keeps its certificate from being marked for deletion', async () => {
      const serial = await write(-1, certId);
      expect(await registry.markForDeletion(serial, 'c')).toBe('in-use');
      expect(await registry.markForDeletion(serial, 'x')).toBe('marked');
    });

    it('can be reissued: the certificate is remembered as the previous one', async () => {
      const serial = await write(-1, certId);
      expect(await registry.reissue(await found(serial), { tokenHash: 'h' })).toBe(true);
      expect(await spelled(serial)).toEqual({});
      expect(await found(serial)).toMatchObject({ state: 'enrolled', previousCertificateId: 'c' });
    });

    it('can be blocked and unblocked', async () => {
      const serial = await write(-1, certId);
      expect(await registry.block(await found(serial))).toBe(true);
      expect(await registry.unblock(await found(serial))).toBe(true);
      expect(await found(serial)).toMatchObject({ state: 'registered', certificateId: 'c' });
    });

    it('can be retired and removed', async () => {
      const serial = await write(-1, certId);
      expect(await registry.retire(await found(serial), 'with-thing')).toBe(true);
      expect(await spelled(serial)).toEqual({});
      expect(await found(serial)).toMatchObject({ state: 'blocked', pendingDeletion: ['c'] });
      await registry.confirmDeleted(serial, 'c');
      expect(await registry.remove(await found(serial), now)).toBe(true);
    });

    it('can be abandoned by the sweep', async () => {
      const serial = await write(1, { ...certId, ...attempt });
      expect(await registry.abandonAttempt(await found(serial))).toBe(true);
      expect(await spelled(serial)).toEqual({});
      expect(await found(serial)).toMatchObject({ state: 'enrolled', attempt: 2, pendingDeletion: ['c'] });
    });

    it('takes no decision about a certificate that it does not name any more', async () => {
      const serial = await write(-1, certId);
      const read = await found(serial);
      await write(-1, { productId: { S: serial }, certId: { S: 'd' } });
      expect(await registry.block(read)).toBe(false);
    });

    it('counts as having no other certificate than that in certID where it has both', async () => {
      const serial = await write(-1, { ...certId, certID: { S: 'd' } });
      expect(await found(serial)).toMatchObject({ certificateId: 'd' });
      expect(await registry.acknowledge(serial, token, 'c', now)).toBe(false);
      expect(await registry.acknowledge(serial, token, 'd', now)).toBe(true);
    });
  });

  describe('a row with the five fields of the reference design and nothing else', () => {
    const certID = { certID: { S: 'c' } };

    it('can be claimed, with certID missing or empty', async () => {
      for (const empty of [{}, { certID: { S: '' } }]) {
        const serial = await write(0, empty);
        const claimed = await claim(serial);
        expect(claimed).toMatchObject({ outcome: 'claimed', device: { attempt: 1 } });
        expect(claimed).not.toHaveProperty('device.certificateId');
        expect(await registry.recordCreateIntent(await found(serial), { at: now })).toBe(true);
        expect(
          await registry.recordCertificate(await found(serial), {
            certificateId: 'c',
            keptReply: 'c2VhbGVk',
            settled: ownIntentsOf(await found(serial)),
          }),
        ).toBe('recorded');
        expect(await registry.finish(await found(serial), 'c', now)).toBe(true);
      }
    });

    it('can be claimed when it says that an attempt is under way: no lease keeps it', async () => {
      expect(await claim(await write(1))).toMatchObject({ outcome: 'claimed' });
    });

    it('can be reopened when it is registered', async () => {
      const serial = await write(-1, certID);
      const reopened = await registry.reopen(await found(serial), { serial, tokenHash: token, now, leaseMs });
      expect(reopened).toMatchObject({ outcome: 'claimed', device: { attempt: 1, certificateId: 'c' } });
    });

    it.each<[string, (device: Device) => Promise<boolean>]>([
      ['block', (device) => registry.block(device)],
      ['reissue', (device) => registry.reissue(device, { tokenHash: 'h' })],
      ['retire', (device) => registry.retire(device, 'keep-thing')],
      ['abandonAttempt', (device) => registry.abandonAttempt(device)],
      ['remove', (device) => registry.remove(device, now)],
    ])('takes the decision of an operator or the sweep: %s', async (_name, decide) => {
      for (const state of [0, 1, -1] as const)
        for (const certificate of [{}, { certID: { S: '' } }, certID])
          expect(await decide(await found(await write(state, certificate)))).toBe(true);
    });

    it('can be unblocked: it is registered again', async () => {
      const serial = await write(-1, certID);
      await registry.block(await found(serial));
      expect(await registry.unblock(await found(serial))).toBe(true);
      expect(await found(serial)).toMatchObject({ state: 'registered', issuedAt: now });
    });
  });
});

describe('the removal of a row, which lets the sweep delete it', () => {
  it.each(['with-thing', 'keep-thing'])('is read as it was written: %s', (removal) => {
    expect(deviceOf({ productId: { S: 'S' }, removal: { S: removal } })).toMatchObject({ removal });
  });

  it.each<AttributeValue>([{ S: 'yes' }, { BOOL: true }, { S: '' }])('is none of another tool: %j', (removal) => {
    expect(deviceOf({ productId: { S: 'S' }, removal })).not.toHaveProperty('removal');
  });
});

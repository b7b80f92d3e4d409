import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { IoTClient } from '@aws-sdk/client-iot';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import type { AwsGate } from '../../aws/gate.ts';
import { type AwsLocal, startAwsLocal } from '../../aws-local/main.ts';
import { createAwsIssuer } from '../../issuer/aws-iot.ts';
import { openIot } from '../../issuer/iot-calls.ts';
import type { Issuer } from '../../issuer/issuer.ts';
import { ensurePolicy } from '../../issuer/setup.ts';
import { type KeyOrigin, vendingCalls } from '../../issuer/vending-calls.ts';
import { hashToken } from '../../protocol/token.ts';
import type { ProvisioningRequest } from '../../queue/provisioning-request.ts';
import { unlimitedWrongTokens } from '../../queue/token-attempts.ts';
import { createAssociationTable } from '../../registry/dynamodb/association-table.ts';
import { ensureTable } from '../../registry/dynamodb/setup.ts';
import { openDynamoTable } from '../../registry/dynamodb/table.ts';
import type { Registry } from '../../registry/registry.ts';
import { deriveReplyKeys, sealer } from '../../sealing/replies.ts';
import { provision } from '../../worker/provision.ts';
import { createRefusedKeys } from '../../worker/refused-keys.ts';
import { createSpareKeys } from '../../worker/spare-keys.ts';
import { makeEcKey } from './aws-local-fixture.ts';

const dataDir = mkdtempSync(join(tmpdir(), 'cvm-path-'));
const token = 'correct-horse-battery-staple';
let aws: AwsLocal;
let dynamo: DynamoDBClient;
let iotClient: IoTClient;
let issuer: Issuer;
let registry: Registry;

/**
 * A gate that holds every call until the process waits for nothing else, and then lets all of them through at once: each round is one call
 * of the longest chain, however long a call takes.
 */
const rounds: string[][] = [];
let held: { operation: string; start: () => Promise<unknown> }[] = [];
let isWatching = false;
const gate: AwsGate = {
  call(operation, send) {
    if (!isWatching) return send();
    return new Promise((resolve, reject) => {
      held.push({ operation, start: () => send().then(resolve, reject) });
    });
  },
};
async function inRounds<T>(work: () => Promise<T>): Promise<T> {
  [rounds.length, held, isWatching] = [0, [], true];
  let isOver = false;
  const result = work().finally(() => {
    isOver = true;
  });
  result.catch(() => {});
  let before = 0;
  for (let idle = 0; !isOver; idle++) {
    await new Promise((resolve) => setTimeout(resolve, 5));
    // a call that is held may not be the last of its round: another one may wait for a key that a busy machine is still making
    if (held.length !== before) idle = 0;
    before = held.length;
    if (held.length === 0 || idle < 20) continue;
    const round = held.splice(0);
    rounds.push(round.map(({ operation }) => operation).sort());
    await Promise.all(round.map(({ start }) => start()));
    idle = 0;
  }
  isWatching = false;
  return result;
}

beforeAll(async () => {
  aws = await startAwsLocal({ dataDir, httpPort: 0, mqttPort: 0, quotas: 'off', keyPool: 2 });
  const options = {
    region: 'us-east-1',
    endpoint: aws.httpUrl,
    credentials: { accessKeyId: 'x', secretAccessKey: 'x' },
  };
  [dynamo, iotClient] = [new DynamoDBClient(options), new IoTClient(options)];
  const iot = openIot({ client: iotClient, creator: iotClient, region: async () => 'us-east-1', close() {} }, gate);
  issuer = createAwsIssuer({ iot, log: pino({ level: 'silent' }) });
  await ensurePolicy(iot, 'cvm-device');
  await issuer.endpoint();
  const table = openDynamoTable(dynamo, 'devices', gate);
  await ensureTable(table);
  registry = createAssociationTable(table).registry;
});
afterAll(async () => {
  dynamo.destroy();
  iotClient.destroy();
  await aws.close();
  rmSync(dataDir, { recursive: true, force: true });
});

const contextOf = () => ({
  registry,
  issuer,
  replies: { deliver: async () => {} },
  rootCaPem: 'ROOT',
  policyName: 'cvm-device',
  replayWindowMs: 86_400_000,
  leaseMs: 600_000,
  now: Date.now,
  seal: sealer,
  seen: { last: async () => undefined, note: async () => {} },
  earlierReplies: { kept: async () => undefined },
  restoredAt: async () => undefined,
  spareKeys: createSpareKeys(),
  refusedKeys: createRefusedKeys(),
  templates: new Map(),
  wrongTokens: unlimitedWrongTokens,
  notices: { reopened() {}, otherWithdrawn() {} },
  makeKey: async (serial: string) => makeEcKey(serial),
});

async function requestOf(serial: string, key: KeyOrigin): Promise<ProvisioningRequest> {
  const { publicKey: replyKey } = deriveReplyKeys(serial, token);
  const asked = { requestId: serial, serial, tokenHash: hashToken(token), replyKey, receivedAt: 0 };
  if (key !== 'csr') return { ...asked, key };
  const { csrPem, keyDigest } = await makeEcKey(serial);
  return { ...asked, key: 'rsa', csrPem, keyDigest };
}

it.each(['rsa', 'ec', 'csr'] as const)(
  'a vend of %s makes at most six calls one after the other, and nine in all with its acknowledgement',
  async (key) => {
    const serial = `SN-${key}`;
    await registry.enrol({ serial, tokenHash: hashToken(token), enrolledAt: 0 });
    const request = await requestOf(serial, key);
    const result = await inRounds(() => provision(request, contextOf()));
    expect(result).toMatchObject({ outcome: 'accepted' });
    const create = key === 'rsa' ? 'iot:CreateKeysAndCertificate' : 'iot:CreateCertificateFromCsr';
    expect(rounds).toEqual([
      ['dynamodb:UpdateItem'],
      [create, 'iot:CreateThing'],
      [key === 'csr' ? 'dynamodb:TransactWriteItems' : 'dynamodb:UpdateItem'],
      ['iot:AttachPolicy', 'iot:AttachThingPrincipal'],
      ['iot:UpdateCertificate'],
      ['dynamodb:UpdateItem'],
    ]);
    expect(
      rounds
        .flat()
        .filter((operation) => operation.startsWith('iot:'))
        .sort(),
    ).toEqual([...vendingCalls(key, { group: false })].sort());
    const vend = rounds.flat().length;
    const certificateId = 'certificateId' in result ? result.certificateId : '';
    expect(await inRounds(() => registry.acknowledge(serial, request.tokenHash, certificateId, 1))).toBe(true);
    expect(vend + rounds.flat().length).toBe(9);
  },
);

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Answer } from '../../protocol/answer.ts';
import { cvm } from '../../protocol/cvm/dialect.ts';
import { joinDialects } from '../../protocol/dialect.ts';
import { fleetProvisioning } from '../../protocol/fleet-provisioning/dialect.ts';
import { derivePsk } from '../../protocol/psk.ts';
import { hashToken } from '../../protocol/token.ts';
import {
  type Acknowledgement,
  type ProvisioningRequest,
  recipientIdOf,
  requestKeyOf,
} from '../../queue/provisioning-request.ts';
import { makeOwnershipToken } from '../../sealing/ownership.ts';
import { deriveReplyKeys, deriveReplySeed, sealer } from '../../sealing/replies.ts';
import { serialless } from '../fakes/serialless-dialect.ts';
import { ask, clientOf, connected, hooksOf, later, publication, token } from '../support/hooks.ts';

const create = '$aws/certificates/create/json';
const accepted: Answer = {
  status: 'accepted',
  credentials: { certificateId: 'c', certificatePem: 'c', thingName: 'SN', endpoint: 'e', rootCaPem: 'r' },
};

let broker: ReturnType<typeof hooksOf>;
let stored: ProvisioningRequest[];
beforeEach(() => {
  stored = [];
  const add = async (request: ProvisioningRequest) => {
    stored.push(request);
    return { requestId: request.requestId, requestKey: requestKeyOf(request) };
  };
  broker = hooksOf({ dialect: joinDialects([cvm, serialless]), requests: { add } });
});
afterEach(() => broker.close());

/** A connection, and what is sent to it. */
async function connect(psk?: Parameters<typeof clientOf>[1]) {
  const heard: { topic: string; body: unknown }[] = [];
  const client = clientOf(({ topic, payload }, done) => {
    heard.push({ topic, body: JSON.parse(payload.toString()) });
    done();
  }, psk);
  await connected(broker.hooks, client);
  const publish = async (topic: string, payload: object) => {
    const packet = publication({ topic, payload: Buffer.from(JSON.stringify(payload)) });
    expect((await ask((done) => broker.hooks.authorizePublish(client, packet, done))).said).toEqual([[null]]);
  };
  const subscribe = async (topic: string) =>
    (await ask((done) => broker.hooks.authorizeSubscribe(client, { topic, qos: 1 }, done))).said[0]?.[1] !== null;
  const logIn = () => ask((done) => broker.hooks.authenticate(client, 'SN', Buffer.from(token), done));
  return { heard, publish, subscribe, logIn };
}

/** A worker answers the request that was stored last. */
function answer(): void {
  const request = stored.at(-1);
  if (request === undefined) throw new Error('no request was stored');
  const { requestId, replyKey } = request;
  const recipientId = recipientIdOf(request.serial, request.tokenHash);
  broker.announce({
    requestId,
    requestKey: requestKeyOf(request),
    recipientId,
    sealed: sealer.answer(replyKey, recipientId, accepted),
  });
}

describe('a dialect whose topics name no serial', () => {
  it('takes the serial and the token of CONNECT, and answers where it was asked, though nothing was subscribed', async () => {
    const { heard, publish, logIn } = await connect();
    await logIn();
    await publish(create, {});
    expect(stored).toMatchObject([{ serial: 'SN', tokenHash: hashToken(token), key: 'ec' }]);
    answer();
    await expect.poll(() => heard).toEqual([{ topic: `${create}/accepted`, body: { certificateId: 'c' } }]);
  });

  it('takes the serial and the token of a TLS handshake by pre-shared key', async () => {
    const keys = { psk: derivePsk('SN', token), replySeed: deriveReplySeed('SN', token) };
    const { heard, publish } = await connect({ serial: 'SN', tokenHash: hashToken(token), keys });
    await publish(create, {});
    answer();
    await expect.poll(() => heard).toEqual([{ topic: `${create}/accepted`, body: { certificateId: 'c' } }]);
  });

  it('takes a serial and a token that come later, in the payload, and binds the connection to it', async () => {
    const { heard, publish, subscribe } = await connect();
    await publish(create, { serial: 'SN', token });
    expect(stored).toMatchObject([{ serial: 'SN' }]);
    await publish(create, { serial: 'another', token });
    expect(heard).toMatchObject([{ topic: `${create}/rejected`, body: { errorCode: 'Forbidden' } }]);
    expect([await subscribe('cvm/reply/another'), await subscribe('cvm/reply/SN')]).toEqual([false, true]);
  });

  it('refuses a request while the serial is unknown, and says where to put it', async () => {
    const { heard, publish } = await connect();
    await publish(create, { token });
    const errorMessage = expect.stringContaining('the serial of the device is unknown: put it into CONNECT');
    expect(heard).toEqual([
      { topic: `${create}/rejected`, body: { statusCode: 401, errorCode: 'InvalidToken', errorMessage } },
    ]);
    expect(stored).toEqual([]);
  });

  it('grants its reply topics exactly, and a subscription to them names no serial', async () => {
    const { subscribe, publish, heard } = await connect();
    const filters = [`${create}/accepted`, `${create}/rejected`, `${create}/+`, create, '$aws/#'];
    const granted = [];
    for (const filter of filters) granted.push(await subscribe(filter));
    expect(granted).toEqual([true, true, false, false, false]);
    await publish(create, {});
    expect(heard).toMatchObject([
      { body: { errorMessage: expect.stringContaining('the serial of the device is unknown') } },
    ]);
  });

  it('writes an answer to the connection that asked, and no copy to the others of the device', async () => {
    const [asking, listening, asCvm] = [await connect(), await connect(), await connect()];
    for (const each of [asking, listening, asCvm]) await each.logIn();
    expect(await listening.subscribe(`${create}/accepted`)).toBe(true);
    // a subscription of the one dialect does not end what the other has granted
    expect([await asCvm.subscribe('cvm/reply/SN'), await asCvm.subscribe(`${create}/accepted`)]).toEqual([true, true]);
    await asking.publish(create, {});
    answer();
    await later();
    expect([asking.heard.length, listening.heard.length]).toEqual([1, 0]);
    // a certificate is the device's, in whichever dialect it was asked for
    expect(asCvm.heard).toMatchObject([{ topic: 'cvm/reply/SN', body: { status: 'accepted', certificateId: 'c' } }]);
  });

  it('lives beside another on one connection: each request is answered in its own', async () => {
    const { heard, publish, logIn } = await connect();
    await logIn();
    await publish('cvm/request/SN', { id: 'r', key: 'rsa' });
    answer();
    await publish(create, {});
    answer();
    await expect.poll(() => heard.map(({ topic }) => topic)).toEqual(['cvm/reply/SN', `${create}/accepted`]);
  });

  it('stands beside the others in the message about topics that none of them knows', async () => {
    const client = await connected(broker.hooks);
    const packet = publication({ topic: 'elsewhere' });
    const { said } = await ask((done) => broker.hooks.authorizePublish(client, packet, done));
    const message = `devices publish to cvm/request/<serial> and cvm/ack/<serial>, ${create}, cvm/time/<nonce> only`;
    expect(said).toEqual([[expect.objectContaining({ message })]]);
  });
});

describe('a registration by a template', () => {
  const topic = '$aws/provisioning-templates/pump/provision/json';
  const certificateOwnershipToken = makeOwnershipToken(
    deriveReplyKeys('SN', token),
    'ab'.repeat(32),
    Date.now() + 60_000,
  );
  let acknowledged: Acknowledgement[];
  beforeEach(() => {
    acknowledged = [];
    broker.close();
    const acknowledge = async (message: Acknowledgement) => void acknowledged.push(message);
    broker = hooksOf({ dialect: fleetProvisioning, requests: { acknowledge } });
  });

  it('is stored without the registration token, though the device sends it as a parameter', async () => {
    const { publish, logIn } = await connect();
    await logIn();
    await publish(topic, { certificateOwnershipToken, parameters: { SerialNumber: 'SN', Token: token } });
    expect(acknowledged).toMatchObject([
      {
        serial: 'SN',
        tokenHash: hashToken(token),
        certificateId: 'ab'.repeat(32),
        registration: { templateName: 'pump' },
      },
    ]);
    expect(acknowledged[0]?.registration?.parameters).toEqual({ SerialNumber: 'SN' });
  });

  it('is refused with an ownership token that has ended, and not stored', async () => {
    const { publish, logIn, heard } = await connect();
    await logIn();
    const ended = makeOwnershipToken(deriveReplyKeys('SN', token), 'ab'.repeat(32), Date.now() - 2000);
    await publish(topic, { certificateOwnershipToken: ended });
    await expect.poll(() => heard).toHaveLength(1);
    expect(heard[0]?.body).toMatchObject({
      errorCode: 'InvalidCertificateOwnershipToken',
      errorMessage: expect.stringContaining('has ended'),
    });
    expect(acknowledged).toEqual([]);
  });

  it('waits beside seven others of its connection at most, also where all come at once', async () => {
    const { publish, logIn, heard } = await connect();
    await logIn();
    await Promise.all(Array.from({ length: 20 }, () => publish(topic, { certificateOwnershipToken })));
    expect(acknowledged).toHaveLength(8);
    expect(heard).toHaveLength(12);
    expect(heard[0]).toMatchObject({ topic: `${topic}/rejected`, body: { statusCode: 429 } });
  });
});

import type { AedesPublishPacket, Client } from 'aedes';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { replyTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import {
  ask,
  clientOf,
  connected,
  connectOf,
  hooksOf as createTestHooks,
  later,
  noWrite,
  publication,
  token,
} from '../support/hooks.ts';

const undo: (() => void)[] = [];
const unhandled: unknown[] = [];
const note = (reason: unknown) => unhandled.push(reason);
beforeEach(() => void process.on('unhandledRejection', note));
afterEach(async () => {
  await later();
  process.off('unhandledRejection', note);
  for (const each of undo.splice(0)) each();
  expect(unhandled.splice(0)).toEqual([]);
});

/** The hooks of one broker, which ends with the test. */
function hooksOf(parts: Parameters<typeof createTestHooks>[0] = {}) {
  const { hooks, close } = createTestHooks(parts);
  undo.push(close);
  return { hooks };
}

describe('a hook, whatever fails behind it', () => {
  const throws = () => {
    throw new Error('no');
  };
  it.each<[string, Parameters<typeof hooksOf>[0]]>([
    ['the queue throws', { requests: { add: throws } }],
    ['the queue rejects', { requests: { add: async () => throws() } }],
    ['the queue rejects with something that is not an Error', { requests: { add: () => Promise.reject('no') } }],
    ['the queue never settles', { requests: { add: () => new Promise<never>(() => {}) } }],
    ['adding the pending request throws', { pendingReplies: { addRequest: throws } }],
    [
      'joining the request to one that waits throws',
      {
        requests: { add: async () => ({ requestId: 'x', requestKey: 'x' }) },
        pendingReplies: { requestStored: throws },
      },
    ],
  ])('answers a PUBLISH once, with an error, so that there is no PUBACK: %s', async (_what, parts) => {
    const { hooks } = hooksOf(parts);
    const client = await connected(hooks);
    const { said } = await ask((done) => hooks.authorizePublish(client, publication(), done));
    expect(said).toEqual([[expect.any(Error)]]);
  });

  it('answers a PUBLISH once, before its refusal is written, and although it cannot be written', async () => {
    const { hooks } = hooksOf();
    let written = 0;
    const client = await connected(
      hooks,
      clientOf(() => void written++),
    );
    const refused = publication({ payload: Buffer.from('{}') });
    const { said } = await ask((done) =>
      hooks.authorizePublish(client, refused, (...outcome: unknown[]) => done(...outcome, written)),
    );
    expect([said, written]).toEqual([[[null, 0]], 1]);
  });

  it('answers a PUBLISH once when the connection closes before the refusal is written', async () => {
    const { hooks } = hooksOf();
    const client = await connected(hooks);
    Object.assign(client, { closed: true });
    const { said } = await ask((done) =>
      hooks.authorizePublish(client, publication({ payload: Buffer.from('{}') }), done),
    );
    expect(said).toEqual([[null]]);
  });

  it('answers once, with an error, when registering the token of a password or of a pre-shared key throws', async () => {
    const { hooks } = hooksOf({ pendingReplies: { registerToken: throws } });
    const client = await connected(hooks);
    const byPassword = await ask((done) => hooks.authenticate(client, 'SN', Buffer.from(token), done));
    expect(byPassword.said).toEqual([[expect.any(Error), null]]);
    const psk = {
      serial: 'SN',
      tokenHash: 'sha256:aa',
      keys: { psk: Buffer.alloc(32), replySeed: Buffer.alloc(32, 1) },
    };
    const byKey = await ask((done) => hooks.preConnect(clientOf(noWrite, psk), connectOf(), done));
    expect(byKey.said).toEqual([[expect.any(Error), false]]);
  });

  it('answers once, and closes the connection, when aedes throws at being called back', async () => {
    const { hooks } = hooksOf();
    const client = await connected(hooks);
    let closed = 0;
    Object.assign(client.conn, { destroy: () => closed++ });
    const calls: unknown[][] = [];
    const done = (...outcome: unknown[]) => {
      calls.push(outcome);
      throw new Error('aedes has a defect');
    };
    hooks.authenticate(client, undefined, undefined, done);
    hooks.authorizeSubscribe(client, { topic: 'cvm/reply/SN', qos: 1 } as never, done);
    hooks.authorizePublish(client, publication(), done);
    await expect.poll(() => calls.length).toBe(3);
    await later(50);
    expect([calls.length, closed]).toEqual([3, 3]);
  });

  it('answers once, and refuses, for a connection that it does not know, as aedes asks about a will', async () => {
    const { hooks } = hooksOf();
    for (const client of [null, clientOf()]) {
      const published = await ask((done) => hooks.authorizePublish(client, publication(), done));
      expect(published.said).toEqual([[expect.any(Error)]]);
      const subscription = { topic: replyTopic('SN'), qos: 1 as const };
      const subscribed = await ask((done) => hooks.authorizeSubscribe(client as Client, subscription, done));
      expect(subscribed.said).toEqual([[null, null]]);
      const authenticated = await ask((done) => hooks.authenticate(client as Client, 'SN', Buffer.from(token), done));
      expect(authenticated.said).toEqual([[expect.any(Error), null]]);
    }
  });
});

describe('a CONNECT', () => {
  it('gets a client id of ours and a clean session, whatever it asks for', async () => {
    const { hooks } = hooksOf();
    const [one, two] = [connectOf(), connectOf()];
    for (const packet of [one, two]) await ask((done) => hooks.preConnect(clientOf(), packet, done));
    expect([one.clean, two.clean]).toEqual([true, true]);
    expect(new Set([one.clientId, two.clientId, 'its own']).size).toBe(3);
    // as MQTT 3.1 allows
    expect(one.clientId).toMatch(/^[\w-]{1,23}$/);
  });

  it.each([
    [0, 600],
    [65_535, 600],
    [601, 600],
    [600, 600],
    [30, 30],
  ])('with a keep-alive of %i s is held to %i s', async (wanted, given) => {
    const packet = connectOf({ keepalive: wanted });
    await ask((done) => hooksOf().hooks.preConnect(clientOf(), packet, done));
    expect(packet.keepalive).toBe(given);
  });

  it('of a device that leaves a will is refused with CONNACK 5, and the will goes no further', async () => {
    const will = { topic: replyTopic('SN'), payload: Buffer.from('x'), qos: 1, retain: false };
    const [{ hooks }, client, packet] = [hooksOf(), clientOf(), connectOf({ will })];
    await ask((done) => hooks.preConnect(client, packet, done));
    expect(packet.will).toBeUndefined();
    const password = Buffer.from(token);
    const { said } = await ask((done) => hooks.authenticate(client, 'SN', password, done));
    expect(said).toEqual([[expect.objectContaining({ returnCode: 5 }), null]]);
    expect(password).toEqual(Buffer.alloc(token.length));
  });
});

describe('a secret', () => {
  it.each([
    ['a request', requestTopic('SN'), JSON.stringify({ token })],
    ['a request that is refused', requestTopic('SN'), JSON.stringify({ token, key: 'dsa' })],
    ['a retained request', requestTopic('SN'), JSON.stringify({ token }), true],
    ['an acknowledgement', 'cvm/ack/SN', '{"certificateId":"x"}'],
  ])(
    'is wiped from %s once it is taken in, and goes no further inside the broker',
    async (_what, topic, text, retain = false) => {
      const { hooks } = hooksOf();
      const client = await connected(hooks);
      const payload = Buffer.from(text);
      const packet = publication({ topic, payload, retain });
      expect((await ask((done) => hooks.authorizePublish(client, packet, done))).said).toEqual([[null]]);
      expect(payload).toEqual(Buffer.alloc(text.length));
      expect([packet.payload.length, packet.retain]).toEqual([0, false]);
    },
  );

  it('is wiped from a request that could not be stored', async () => {
    const { hooks } = hooksOf({ requests: { add: () => Promise.reject(new Error('Redis is away')) } });
    const client = await connected(hooks);
    const packet = publication();
    const { payload } = packet;
    await ask((done) => hooks.authorizePublish(client, packet, done));
    expect(payload.every((byte) => byte === 0)).toBe(true);
  });

  it('is wiped from a password', async () => {
    const { hooks } = hooksOf();
    const password = Buffer.from(token);
    const client = await connected(hooks);
    expect((await ask((done) => hooks.authenticate(client, 'SN', password, done))).said).toEqual([[null, true]]);
    expect(password.every((byte) => byte === 0)).toBe(true);
  });

  it('is wiped from a message to a foreign topic, and from a password with a user name that does not fit', async () => {
    const { hooks } = hooksOf();
    const client = await connected(hooks);
    const packet = publication({ topic: 'cvm/requests/SN' });
    const { payload } = packet;
    await ask((done) => hooks.authorizePublish(client, packet, done));
    const passwords = ['not a serial', 'SN', 'another'].map((username) => ({ username, password: Buffer.from(token) }));
    for (const { username, password } of passwords)
      await ask((done) => hooks.authenticate(client, username, password, done));
    for (const secret of [payload, ...passwords.map(({ password }) => password)])
      expect(secret.every((byte) => byte === 0)).toBe(true);
  });

  it('is wiped from the keys of a TLS handshake, once the keys that open answers are derived', async () => {
    const keys = { psk: Buffer.alloc(32, 1), replySeed: Buffer.alloc(32, 2) };
    const { hooks } = hooksOf();
    await connected(hooks, clientOf(noWrite, { serial: 'SN', tokenHash: 'sha256:aa', keys }));
    expect([...keys.psk, ...keys.replySeed].every((byte) => byte === 0)).toBe(true);
  });
});

describe('a message to a device', () => {
  it('is forwarded only while it is being sent to this very connection', async () => {
    const sent: AedesPublishPacket[] = [];
    const { hooks } = hooksOf();
    const write = (packet: AedesPublishPacket, done: (error?: Error) => void) => {
      sent.push(packet);
      done();
    };
    const [device, other] = [await connected(hooks, clientOf(write)), await connected(hooks, clientOf(write))];
    await ask((done) => hooks.authorizePublish(device, publication({ payload: Buffer.from('{}') }), done));
    const [ours] = sent as [AedesPublishPacket];
    // never retained
    expect(ours).toMatchObject({ cmd: 'publish', topic: replyTopic('SN'), qos: 1, retain: false, dup: false });
    expect(hooks.authorizeForward(device, ours)).toBe(ours);
    expect(hooks.authorizeForward(other, ours)).toBeNull();
    expect(hooks.authorizeForward(clientOf(), ours)).toBeNull();
    expect(hooks.authorizeForward(device, { ...ours, payload: Buffer.from(ours.payload) })).toBeNull();
    expect(hooks.authorizeForward(device, { ...ours, payload: 'text' })).toBeNull();
  });
});

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ask, clientOf, connected, hooksOf, publication } from '../support/hooks.ts';

let broker: ReturnType<typeof hooksOf>;
beforeEach(() => {
  broker = hooksOf();
});
afterEach(() => broker.close());

/** What a connection of the device S, or one that has named no serial yet, is told of a SUBSCRIBE. */
async function subscribe(filter: string, serial?: string) {
  const { hooks } = broker;
  const client = await connected(hooks);
  if (serial !== undefined) await ask((done) => hooks.authenticate(client, serial, Buffer.from('x'.repeat(30)), done));
  const subscription = { topic: filter, qos: 1 as const };
  const { said } = await ask((done) => hooks.authorizeSubscribe(client, subscription, done));
  return { said, subscription };
}

describe('a SUBSCRIBE', () => {
  it.each(['S', undefined])(
    'to the own reply topic is granted as it stands; the connection has named %s',
    async (serial) => {
      const { said, subscription } = await subscribe('cvm/reply/S', serial);
      expect(said).toEqual([[null, subscription]]);
      expect(said[0]?.[1]).toBe(subscription);
    },
  );

  it.each([
    'cvm/reply/+',
    'cvm/reply/#',
    '#',
    '+/+/+',
    'cvm/#',
    '$SYS/#',
    '$share/g/cvm/reply/S',
    'cvm/reply/T',
    'cvm/request/S',
    'cvm/reply/S/',
    'cvm/reply/',
    'cvm/ack/S',
  ])('to anything else gets SUBACK 128: %s', async (filter) => {
    expect((await subscribe(filter, 'S')).said).toEqual([[null, null]]);
  });

  it('to a topic below the own reply topic is granted, and gives no copies of answers to other connections', async () => {
    const filter = 'cvm/reply/S/of/one/request';
    const { said, subscription } = await subscribe(filter, 'S');
    expect(said).toEqual([[null, subscription]]);
    for (const other of ['cvm/reply/T/x', 'cvm/reply/S//x', 'cvm/reply/S/#', 'cvm/reply/S/+/x'])
      expect((await subscribe(other, 'S')).said).toEqual([[null, null]]);
  });

  it.each(['cvm/reply/+', 'cvm/reply/#'])(
    'with a wildcard gets SUBACK 128 before a serial was named, too: %s',
    async (filter) => {
      expect((await subscribe(filter)).said).toEqual([[null, null]]);
    },
  );

  it('binds the connection to the serial that it names', async () => {
    const { hooks } = broker;
    const client = await connected(hooks);
    const filters = ['cvm/reply/S', 'cvm/reply/T', 'cvm/reply/S'];
    const granted = [];
    for (const topic of filters)
      granted.push(
        (await ask((done) => hooks.authorizeSubscribe(client, { topic, qos: 1 }, done))).said[0]?.[1] !== null,
      );
    expect(granted).toEqual([true, false, true]);
  });
});

describe('a PUBLISH', () => {
  it.each([
    ['with QoS 2', { qos: 2 }, 'QoS 2'],
    [
      'to the own reply topic',
      { topic: 'cvm/reply/SN' },
      'cvm/request/<serial> and cvm/ack/<serial>, cvm/time/<nonce> only',
    ],
    ['to $SYS', { topic: '$SYS/x' }, 'cvm/request/<serial> and cvm/ack/<serial>, cvm/time/<nonce> only'],
  ])('%s closes the connection, and the log says why', async (_what, extra, reason) => {
    const { hooks } = broker;
    const client = await connected(hooks, clientOf());
    const { said } = await ask((done) => hooks.authorizePublish(client, publication(extra), done));
    expect(said).toEqual([[expect.objectContaining({ message: expect.stringContaining(reason) })]]);
  });
});

describe('a user name', () => {
  const password = Buffer.from('x'.repeat(30));
  async function connectAs(username: string | undefined, secret: Buffer | undefined = Buffer.from(password)) {
    const { hooks } = broker;
    const client = await connected(hooks);
    const { said } = await ask((done) => hooks.authenticate(client, username, secret, done));
    return { refusal: (said[0]?.[0] as Error | null)?.message, client };
  }

  it('is the serial, with or without what the clients of AWS append to it', async () => {
    for (const username of ['S', 'S?SDK=NodeJSv2&Version=1.33.2']) {
      const { refusal, client } = await connectAs(username);
      expect(refusal).toBeUndefined();
      const subscription = { topic: 'cvm/reply/T', qos: 1 as const };
      const { said } = await ask((done) => broker.hooks.authorizeSubscribe(client, subscription, done));
      expect(said).toEqual([[null, null]]);
    }
  });

  it('is missed where there is a password, and not where there is none', async () => {
    for (const username of [undefined, '', '?SDK=NodeJSv2&Version=1.33.2'])
      expect((await connectAs(username)).refusal).toMatch(/CONNACK 4: a password without a user name/);
    expect((await connectAs('?SDK=NodeJSv2', Buffer.alloc(0))).refusal).toBeUndefined();
  });
});

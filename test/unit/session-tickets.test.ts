import { spawn } from 'node:child_process';
import { constants } from 'node:crypto';
import { connect } from 'node:tls';
import { afterEach, describe, expect, it } from 'vitest';
import { contextOptions } from '../../broker/listener/cipher-suites.ts';
import { ticketKeysOf } from '../../broker/listener/ticket-keys.ts';
import { lacks } from '../support/lacks.ts';
import { keyed, startTlsListener } from '../support/tls-listener.ts';

const day = 24 * 60 * 60 * 1000;

describe('a session ticket', () => {
  const listeners: { close(): Promise<void> }[] = [];
  afterEach(async () => {
    for (const listener of listeners.splice(0).reverse()) await listener.close();
  });
  const start = async (options: Parameters<typeof startTlsListener>[0] = {}) => {
    const listener = await startTlsListener(options);
    listeners.push(listener);
    return listener;
  };

  type Options = { session?: Buffer | undefined; version?: 'TLSv1.2' | 'TLSv1.3'; psk?: Buffer; identity?: string };

  /** @returns what the client saw: whether its session was resumed, its tickets, or why it failed */
  async function handshake(
    { port, accepted }: { port: number; accepted: unknown[] },
    { session, version = 'TLSv1.3', psk, identity = keyed.serial }: Options = {},
  ) {
    const before = accepted.length;
    const key = { pskCallback: () => ({ psk: Buffer.from(psk ?? ''), identity }) };
    const socket = connect({
      port,
      rejectUnauthorized: false,
      minVersion: version,
      maxVersion: version,
      checkServerIdentity: () => undefined,
      ...(session === undefined ? {} : { session }),
      ...(psk === undefined ? {} : key),
    });
    const tickets: Buffer[] = [];
    socket.on('session', (ticket) => tickets.push(ticket));
    const failed = await new Promise<string | undefined>((resolve) => {
      socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code));
      socket.once('close', () => resolve('closed')).once('secureConnect', () => resolve(undefined));
    });
    if (failed !== undefined) return { failed, resumed: false, tickets, ticket: undefined };
    await expect.poll(() => accepted.length).toBe(before + 1);
    // OpenSSL gives no other ticket to a client that came with one
    const hasTickets = version === 'TLSv1.3' && session === undefined;
    if (hasTickets) await expect.poll(() => tickets.length).toBe(2);
    const seen = { failed, resumed: socket.isSessionReused(), tickets, ticket: socket.getTLSTicket() };
    socket.destroy();
    return seen;
  }

  it('resumes a session of TLS 1.3, which has no identity', async () => {
    const listener = await start();
    const { tickets, resumed } = await handshake(listener);
    expect(resumed).toBe(false);
    expect(await handshake(listener, { session: tickets[0] })).toMatchObject({ resumed: true });
    expect(listener.accepted).toEqual([undefined, undefined]);
  });

  it('resumes a session at another broker with the same server key, and at none with another', async () => {
    const [one, stranger] = [await start(), await start()];
    const two = await start({ beside: one });
    const { tickets } = await handshake(one);
    expect(await handshake(two, { session: tickets[0] })).toMatchObject({ resumed: true });
    expect(await handshake(stranger, { session: tickets[0] })).toMatchObject({ failed: undefined, resumed: false });
  });

  it('resumes nothing on the next day, nor after the server key was changed', async () => {
    const clock = { now: day * 20_000 + 5 };
    const listener = await start({ now: () => clock.now });
    const { tickets } = await handshake(listener);
    clock.now += day;
    expect(await handshake(listener, { session: tickets[0] })).toMatchObject({ failed: undefined, resumed: false });
    const { tickets: later } = await handshake(listener);
    expect(await handshake(listener, { session: later[0] })).toMatchObject({ resumed: true });
    const other = await start();
    listener.useTls(other.tls);
    expect(await handshake(listener, { session: later[0] })).toMatchObject({ failed: undefined, resumed: false });
  });

  it('is not given in TLS 1.2, where it would hold the keys of its session', async () => {
    const listener = await start();
    expect((await handshake(listener, { version: 'TLSv1.2' })).ticket).toBeUndefined();
  });

  it('beside the identity of a device proves no key: the key has to be right', async () => {
    const listener = await start();
    const { tickets } = await handshake(listener);
    const wrong = await handshake(listener, { session: tickets[0], psk: Buffer.alloc(32, 1) });
    expect(wrong).toMatchObject({ resumed: false });
    expect(wrong.failed).toBeDefined();
    expect(listener.accepted).toEqual([undefined]);
    expect(await handshake(listener, { session: tickets[0], psk: keyed.psk })).toMatchObject({ failed: undefined });
    expect(listener.accepted).toEqual([undefined, keyed.serial]);
  });

  it('beside an identity that is no serial resumes its session, and has no identity', async () => {
    const listener = await start();
    const { tickets } = await handshake(listener);
    const both = { session: tickets[0], psk: Buffer.alloc(32, 1), identity: 'no serial!' };
    expect(await handshake(listener, both)).toMatchObject({ resumed: true });
    expect(listener.accepted).toEqual([undefined, undefined]);
  });

  it.skipIf(lacks('openssl'))('allows no early data, which could be replayed', async () => {
    const { port } = await start();
    // it reads the tickets as long as it may have something to send
    const printed = async () => {
      const client = spawn('openssl', ['s_client', '-connect', `127.0.0.1:${port}`, '-tls1_3'], { timeout: 60_000 });
      let text = '';
      client.stdout.on('data', (data) => {
        text += data;
      });
      setTimeout(() => client.stdin.on('error', () => {}).end(), 500);
      await new Promise((resolve) => client.once('close', resolve));
      return text.match(/Max Early Data: \d+/)?.[0];
    };
    await expect.poll(printed).toBe('Max Early Data: 0');
  });

  it('is sealed with keys that differ by server key and by day', async () => {
    const [one, two] = [await start(), await start()];
    const keys = [one.tls.key, two.tls.key].flatMap((key) => [ticketKeysOf(key, 1), ticketKeysOf(key, 2)]);
    expect(new Set(keys.map((each) => each.toString('hex'))).size).toBe(4);
    expect(ticketKeysOf(one.tls.key, 1)).toEqual(keys[0]);
  });

  it.each(['modern', 'old'] as const)(
    'is of no context that speaks TLS 1.2, whichever suites are offered: %s',
    (suites) => {
      expect(contextOptions(suites, 'tickets').minVersion).toBe('TLSv1.3');
      for (const kind of ['keys', 'neither'] as const)
        expect(contextOptions(suites, kind).secureOptions & constants.SSL_OP_NO_TICKET).not.toBe(0);
    },
  );
});

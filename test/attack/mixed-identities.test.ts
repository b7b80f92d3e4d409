import { type ConnectionOptions, connect } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { chosenFor } from '../support/client-hello.ts';
import { keyed, startTlsListener, type TlsListener } from '../support/tls-listener.ts';
import { handshakeWith, type Identity, type SuiteName, ticketIn } from '../support/tls13-client.ts';

const ciphers = { sha256: 'TLS_AES_128_GCM_SHA256', sha384: 'TLS_AES_256_GCM_SHA384' };
const name = Buffer.from(keyed.serial);

describe("a victim's serial as one identity among several, beside a valid ticket of the attacker", () => {
  let listener: TlsListener;
  beforeEach(async () => {
    listener = await startTlsListener();
  });
  afterEach(() => listener.close());

  /** A ticket that the gateway takes: of a connection by certificate, which anybody can make. */
  async function ownTicket(suite: SuiteName): Promise<{ ticket: Identity; session: Buffer }> {
    const options: ConnectionOptions = { port: listener.port, rejectUnauthorized: false, ciphers: ciphers[suite] };
    const socket = connect({ ...options, minVersion: 'TLSv1.3' });
    const session = await new Promise<Buffer>((resolve) => socket.once('session', resolve));
    socket.destroy();
    await expect.poll(() => listener.accepted.length).toBe(1);
    listener.accepted.length = 0;
    return { ticket: ticketIn(session), session };
  }
  const victim = (hashBytes: number): Identity => ({ name, key: Buffer.alloc(hashBytes, 1), kind: 'key' });

  it('the ticket alone resumes its session, and the right key alone proves the serial: both are made as the gateway wants them', async () => {
    for (const suite of ['sha256', 'sha384'] as const) {
      const { ticket } = await ownTicket(suite);
      expect(await handshakeWith(listener.port, suite, [ticket])).toEqual({ finished: true, selected: 0 });
      await expect.poll(() => listener.accepted).toEqual([undefined]);
      listener.accepted.length = 0;
    }
    const right: Identity = { name, key: keyed.psk, kind: 'key' };
    expect(await handshakeWith(listener.port, 'sha256', [right])).toEqual({ finished: true, selected: 0 });
    await expect.poll(() => listener.accepted).toEqual([keyed.serial]);
  });

  it.each([
    ['before the ticket', (ticket: Identity) => [victim(32), ticket]],
    ['after the ticket', (ticket: Identity) => [ticket, victim(32)]],
    ['twice, around the ticket', (ticket: Identity) => [victim(32), ticket, victim(32)]],
    ['after two tickets', (ticket: Identity) => [ticket, ticket, victim(32)]],
  ])('is refused where it stands %s, since its binder is wrong', async (_where, offer) => {
    const { ticket } = await ownTicket('sha256');
    const outcome = await handshakeWith(listener.port, 'sha256', offer(ticket));
    expect(outcome).toEqual({ alert: expect.any(Number) });
    expect(listener.accepted).toEqual([]);
  });

  it.each([
    ['before the ticket', (ticket: Identity) => [victim(48), ticket], 'sha384'],
    ['after the ticket', (ticket: Identity) => [ticket, victim(48)], 'sha384'],
  ] as const)(
    'counts for nothing where it stands %s and no suite fits its key: nothing is resumed, nothing proved',
    async (_where, offer, suite) => {
      const { ticket } = await ownTicket(suite);
      expect(await handshakeWith(listener.port, suite, offer(ticket))).toEqual({ finished: true, selected: undefined });
      await expect.poll(() => listener.accepted).toEqual([undefined]);
    },
  );

  it('is as nothing in TLS 1.2 beside a ticket: the handshake is a full one, which asks for the key', async () => {
    const { ticket } = await ownTicket('sha256');
    const pskWithAes128Gcm = 0xa8;
    const { suite } = await chosenFor(listener.port, { suites: [pskWithAes128Gcm], ticket: ticket.name });
    expect(suite).toBe(pskWithAes128Gcm);
    expect(listener.accepted).toEqual([]);
  });
});

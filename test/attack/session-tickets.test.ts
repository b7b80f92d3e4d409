import { type ConnectionOptions, connect } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { block } from '../../operator/decisions.ts';
import { ackTopic, replyTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { derivePsk } from '../../protocol/psk.ts';
import { connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

describe.skipIf(lacks('redis-server'))('resuming a TLS session', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway();
  });
  afterAll(() => gateway?.close());

  const trusting = () => ({ ca: gateway.broker.caPem, servername: 'localhost', minVersion: 'TLSv1.3' as const });

  /** Connects with the token of the device. @returns its ticket */
  async function ticketOf({ serial, token }: { serial: string; token: string }, tls: object = {}): Promise<Buffer> {
    const device = await connectDevice(gateway.broker, { username: serial, password: token, ...tls });
    const { stream } = device.client as unknown as { stream: { getSession(): Buffer } };
    const ticket = stream.getSession();
    await device.client.endAsync(true);
    return ticket;
  }

  async function isResumed(session: Buffer, more: ConnectionOptions = {}): Promise<boolean> {
    const socket = connect({ port: gateway.broker.port, host: 'localhost', ...trusting(), session, ...more });
    socket.on('error', () => {});
    await new Promise((resolve) => socket.once('secureConnect', resolve).once('close', resolve));
    const isReused = socket.isSessionReused();
    socket.destroy();
    return isReused;
  }

  /** Asks on a resumed session. */
  async function ask(serial: string, session: Buffer, { token, as }: { token?: string; as?: string } = {}) {
    expect(await isResumed(session)).toBe(true);
    const named = as === undefined || token === undefined ? {} : { username: as, password: token };
    const device = await connectDevice(gateway.broker, { ...trusting(), ...named, session } as object);
    await device.client.publishAsync(requestTopic(serial), '{"key":"ec"}', { qos: 1 });
    const reply = await device.next();
    await device.client.endAsync(true);
    return reply;
  }

  it('proves no token: the holder of a stolen ticket gets, hears and acknowledges nothing of the device', async () => {
    const victim = await gateway.enrolOnRoster('ticket-stolen');
    const session = await ticketOf(victim);
    expect(await ask(victim.serial, session)).toMatchObject({ status: 'rejected', errorCode: 'InvalidToken' });
    const thief = await connectDevice(gateway.broker, { ...trusting(), session } as object);
    await thief.client.subscribeAsync(replyTopic(victim.serial), { qos: 1 });
    const device = await connectDevice(gateway.broker, { username: victim.serial, password: victim.token });
    await device.client.publishAsync(requestTopic(victim.serial), '{"key":"ec"}', { qos: 1 });
    const { status, certificateId } = await device.next();
    expect(status).toBe('accepted');
    await thief.client.publishAsync(ackTopic(victim.serial), JSON.stringify({ certificateId }), { qos: 1 });
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(thief.heard.filter(({ reply }) => reply.status === 'accepted')).toEqual([]);
    expect((await gateway.registry.find(victim.serial))?.deliveredAt).toBeUndefined();
    await thief.client.endAsync(true);
    await device.client.endAsync(true);
  });

  it('with the ticket of another device counts for nothing but the token that is sent', async () => {
    const [one, two] = [await gateway.enrolOnRoster('ticket-one'), await gateway.enrolOnRoster('ticket-two')];
    const session = await ticketOf(one);
    expect(await ask(two.serial, session, { token: one.token, as: two.serial })).toMatchObject({
      status: 'rejected',
      errorCode: 'InvalidToken',
    });
    expect(await ask(two.serial, session, { token: two.token, as: two.serial })).toMatchObject({ status: 'accepted' });
    expect(await gateway.registry.find(one.serial)).toMatchObject({ state: 'enrolled' });
  });

  it('does not outlive a block', async () => {
    const device = await gateway.enrolOnRoster('ticket-blocked');
    const session = await ticketOf(device);
    await block(device.serial, gateway.operator);
    const { serial, token } = device;
    expect(await ask(serial, session, { token, as: serial })).toMatchObject({ status: 'rejected' });
    expect(await ask(serial, session)).toMatchObject({ status: 'rejected', errorCode: 'InvalidToken' });
  });

  it('does not outlive the token: after a reissue the old one is refused', async () => {
    const device = await gateway.enrolOnRoster('ticket-reissued');
    const session = await ticketOf(device);
    const token = await gateway.reissueOnRoster(device.serial);
    const { serial } = device;
    expect(await ask(serial, session, { token: device.token, as: serial })).toMatchObject({
      status: 'rejected',
      errorCode: 'InvalidToken',
    });
    expect(await ask(serial, session, { token, as: serial })).toMatchObject({ status: 'accepted' });
  });

  it('does not outlive the use of the token', async () => {
    const { serial, token } = await gateway.enrolOnRoster('ticket-spent');
    const session = await ticketOf({ serial, token });
    const device = await connectDevice(gateway.broker, { username: serial, password: token });
    await device.client.publishAsync(requestTopic(serial), '{"key":"ec"}', { qos: 1 });
    const { certificateId } = await device.next();
    await device.client.publishAsync(ackTopic(serial), JSON.stringify({ certificateId }), { qos: 1 });
    await device.client.endAsync(true);
    await expect.poll(async () => (await gateway.registry.find(serial))?.deliveredAt).toBeGreaterThan(0);
    await gateway.queueIsEmpty();
    expect(await ask(serial, session, { token, as: serial })).toMatchObject({ errorCode: 'AlreadyProvisioned' });
  });

  it('is not possible after a pre-shared key, nor beside the identity of a device', async () => {
    const { serial, token } = await gateway.enrolOnRoster('ticket-keyed');
    const psk = derivePsk(serial, token);
    const keyed = {
      pskCallback: () => ({ psk: Buffer.from(psk), identity: serial }),
      checkServerIdentity: () => undefined,
    };
    const session = await ticketOf({ serial, token }, keyed);
    expect(await isResumed(session)).toBe(false);
    const stranger = await ticketOf(await gateway.enrolOnRoster('ticket-stranger'));
    const wrong = { ...keyed, pskCallback: () => ({ psk: Buffer.alloc(32, 1), identity: serial }) };
    expect(await isResumed(stranger, wrong)).not.toBe(true);
  });
});

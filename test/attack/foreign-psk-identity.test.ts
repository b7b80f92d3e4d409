import { connect as connectTls } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import { derivePsk } from '../../protocol/psk.ts';
import { connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

describe.skipIf(lacks('redis-server'))("naming a victim's serial as the pre-shared-key identity", () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway();
  });
  afterAll(() => gateway?.close());

  const wrongKey = (identity: string) => ({
    pskCallback: () => ({ psk: Buffer.alloc(32, 1), identity }),
    checkServerIdentity: () => undefined,
  });

  it('with suites that do not fit the key ends in a handshake by certificate, which verifies no token', async () => {
    const victim = await gateway.enrolOnRoster('victim-suites');
    const attacker = await connectDevice(gateway.broker, {
      ...wrongKey(victim.serial),
      ...({ minVersion: 'TLSv1.3', ciphers: 'TLS_AES_256_GCM_SHA384' } as object),
    });
    await attacker.client.publishAsync(requestTopic(victim.serial), '{"key":"ec"}', { qos: 1 });
    expect(await attacker.next()).toMatchObject({ status: 'rejected', errorCode: 'InvalidToken' });
    await attacker.client.endAsync(true);
    expect(await gateway.registry.find(victim.serial)).toMatchObject({ state: 'enrolled', attempt: 0 });
  });

  it('with a session of the attacker does not resume as the victim', async () => {
    const victim = await gateway.enrolOnRoster('victim-session');
    const own = await gateway.enrolOnRoster('attacker-session');
    const tickets: Buffer[] = [];
    const base = { port: gateway.broker.port, host: 'localhost', ca: gateway.broker.caPem, rejectUnauthorized: false };
    for (const psk of [{}, { ...wrongKey(own.serial), pskCallback: () => pskOf(own) }]) {
      const socket = connectTls({ ...base, ...psk });
      socket.on('session', (ticket) => tickets.push(ticket)).on('error', () => {});
      await new Promise((resolve) => socket.once('secureConnect', resolve));
      await new Promise((resolve) => setTimeout(resolve, 200));
      socket.destroy();
    }
    for (const session of tickets) {
      const socket = connectTls({ ...base, session, ...wrongKey(victim.serial) });
      socket.on('error', () => {});
      await new Promise((resolve) => socket.once('close', resolve).once('secureConnect', resolve));
      expect(socket.isSessionReused()).not.toBe(true);
      socket.destroy();
    }
  });
});

function pskOf({ serial, token }: { serial: string; token: string }) {
  return { psk: derivePsk(serial, token), identity: serial };
}

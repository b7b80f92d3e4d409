import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectDevice, type TestDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

describe.skipIf(lacks('redis-server'))('the connections of one address', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway({ env: { CVM_MAX_CONNECTIONS_PER_ADDRESS: '3' } });
  });
  afterAll(() => gateway?.close());

  /** A device that left still has its slot for a moment. */
  const open = (count: number) => expect.poll(() => gateway.broker.metric('cvm_broker_connections_open')).toBe(count);

  it('are not closed for health checks of this machine while all slots are taken, and no device is reported as turned away', async () => {
    const devices: TestDevice[] = [];
    for (let index = 0; index < 3; index++) devices.push(await connectDevice(gateway.broker));
    const before = await gateway.broker.metric('cvm_broker_connections_total');
    for (let count = 0; count < 20; count++) {
      const check = connect({ port: gateway.broker.port, host: '127.0.0.1' });
      await once(check, 'connect');
      const closed = once(check.resume(), 'close');
      check.end();
      await closed;
    }
    expect(devices.map(({ client }) => client.connected)).toEqual([true, true, true]);
    expect(await gateway.broker.metric('cvm_broker_connections_total')).toBe(before);
    expect(await gateway.broker.metric('cvm_broker_connections_evicted_total')).toBe(0);
    expect(gateway.logText()).not.toContain('closing a connection');
    for (const { client } of devices) await client.endAsync(true);
  });

  it('are as many as the setting says, and the log names the setting when there is no slot for another', async () => {
    await open(0);
    const devices: TestDevice[] = [];
    for (let index = 0; index < 3; index++) {
      const { serial: username, token: password } = await gateway.enrolOnRoster(`one-address-${index}`);
      devices.push(await connectDevice(gateway.broker, { username, password }));
    }
    await expect(connectDevice(gateway.broker)).rejects.toThrow();
    await expect.poll(() => gateway.logText()).toContain('CVM_MAX_CONNECTIONS_PER_ADDRESS');
    const trouble = join(gateway.dataDir, 'broker.trouble');
    await expect.poll(() => existsSync(trouble)).toBe(true);
    await expect.poll(() => readFileSync(trouble, 'utf8')).toContain('turns devices away');
    await expect.poll(() => gateway.logText()).toContain('turning devices away for lack of slots');
    expect(devices.map(({ client }) => client.connected)).toEqual([true, true, true]);
    await devices[0]?.client.endAsync(true);
    await open(2);
    const another = await connectDevice(gateway.broker);
    for (const { client } of [...devices, another]) await client.endAsync(true);
  });
});

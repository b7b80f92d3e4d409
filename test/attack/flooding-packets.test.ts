import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import { askOnce } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { connectRaw, connectWith, packet, publishOf, subscribeTo } from '../support/raw-mqtt.ts';

const bulk = (make: () => Buffer) => Buffer.concat(Array.from({ length: 2000 }, make));

describe.skipIf(lacks('redis-server'))('ten connections without a token that send as fast as they can', () => {
  let gateway: Gateway;
  let stop: (() => void)[] = [];
  beforeAll(async () => {
    gateway = await startGateway();
  });
  afterEach(() => {
    for (const each of stop.splice(0)) each();
  });
  afterAll(() => gateway?.close());

  async function flood(packets: Buffer): Promise<void> {
    const attacker = await connectRaw(gateway.broker);
    attacker.send(connectWith('floods'));
    const pump = () => {
      if (attacker.socket.destroyed) return;
      if (attacker.socket.write(packets)) setTimeout(pump, 20);
      else attacker.socket.once('drain', pump);
    };
    pump();
    stop = [...stop, () => attacker.socket.destroy()];
  }

  it.each([
    ['PINGREQ', bulk(() => packet(0xc0))],
    ['SUBSCRIBE', bulk(() => subscribeTo('some/other/topic'))],
    ['requests that are refused', bulk(() => publishOf(requestTopic('SN-flood'), '{}'))],
  ])('do not keep honest devices from their certificates: %s', async (kind, packets) => {
    for (let count = 0; count < 10; count++) await flood(packets);
    for (let count = 0; count < 10; count++) {
      const { serial, token } = await gateway.enrol(`beside-${kind.replaceAll(' ', '-')}-${count}`);
      expect(await askOnce(gateway.broker, serial, { token, key: 'ec' })).toMatchObject({ status: 'accepted' });
    }
  });
});

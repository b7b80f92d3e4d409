import { type AddressInfo, connect, createServer } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { replyTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { connectRaw, connectWith, packet, publishOf, subscribeTo, text } from '../support/raw-mqtt.ts';

const [connack, publish, pingresp] = [2, 3, 13];
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

/** A relay to `port` that joins what comes within 20 ms: so TLS records that were sent one by one arrive at once. */
async function joiningRelay(port: number) {
  const relay = createServer((device) => {
    const broker = connect(port, '127.0.0.1');
    const chunks: Buffer[] = [];
    let timer: NodeJS.Timeout | undefined;
    device.on('data', (chunk: Buffer) => {
      chunks.push(chunk);
      clearTimeout(timer);
      timer = setTimeout(() => broker.write(Buffer.concat(chunks.splice(0))), 20);
    });
    broker.pipe(device);
    for (const socket of [device, broker]) socket.on('error', () => {}).on('close', () => device.destroy());
    device.on('close', () => broker.destroy());
  });
  await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve));
  return { port: (relay.address() as AddressInfo).port, close: () => relay.close() };
}

/** MQTT 3.1.1, 3.1.4: a client may send packets right after CONNECT, without waiting for CONNACK. */
describe.skipIf(lacks('redis-server'))('a device that does not wait for CONNACK', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway();
  });
  afterAll(() => gateway?.close());

  /** The token is in CONNECT only, so a request that overtakes it has none. */
  const packetsOf = ({ serial, token }: { serial: string; token: string }) => [
    connectWith('eager', { flags: 0xc2, payload: [text(serial), text(token)] }),
    publishOf(requestTopic(serial), JSON.stringify({ key: 'ec' })),
    subscribeTo(replyTopic(serial)),
  ];
  const answersIn = (heard: readonly { type: number }[]) => heard.map(({ type }) => type);

  it('is served when its packets come in TLS records of their own, and all at once', async () => {
    const relay = await joiningRelay(gateway.broker.port);
    const device = await connectRaw({ ...gateway.broker, port: relay.port });
    for (const each of packetsOf(await gateway.enrol('eager-records'))) {
      device.send(each);
      await turn();
    }
    const reply = await device.next(publish);
    expect(reply.body.toString()).toContain('"status":"accepted"');
    expect(answersIn(device.heard)[0]).toBe(connack);
    device.socket.destroy();
    relay.close();
  });

  it('is served however its packets are spread over time', async () => {
    for (const turns of [0, 1, 2, 3, 5, 8]) {
      const serial = `eager-${turns}`;
      const device = await connectRaw(gateway.broker);
      for (const each of packetsOf(await gateway.enrol(serial))) {
        device.send(each);
        for (let count = 0; count < turns; count++) await turn();
      }
      const reply = await device.next(publish);
      expect(reply.body.toString(), `${turns} turns between packets`).toContain('"status":"accepted"');
      expect(answersIn(device.heard)[0]).toBe(connack);
      device.socket.destroy();
    }
  });

  it('may send everything at once, more than the MQTT library queues, and is served', async () => {
    const device = await connectRaw(gateway.broker);
    const pings = Array.from({ length: 40 }, () => packet(0xc0));
    device.send(...packetsOf(await gateway.enrol('eager-all')), ...pings);
    const reply = await device.next(publish);
    expect(reply.body.toString()).toContain('"status":"accepted"');
    await expect.poll(() => answersIn(device.heard).filter((type) => type === pingresp).length).toBe(40);
    device.socket.destroy();
  });

  it('is answered by CONNACK before anything else, even where its user name is refused', async () => {
    const device = await connectRaw(gateway.broker);
    const refused = connectWith('eager', { flags: 0xc2, payload: [text('no serial!'), text('x')] });
    const { serial, token } = await gateway.enrol('eager-refused');
    const relay = await joiningRelay(gateway.broker.port);
    const joined = await connectRaw({ ...gateway.broker, port: relay.port });
    for (const each of [device, joined]) {
      for (const sent of [refused, publishOf(requestTopic(serial), JSON.stringify({ token }))]) {
        each.send(sent);
        await turn();
      }
      await each.closed;
      expect(each.heard.map(({ type, body }) => [type, body[1]])).toEqual([[connack, 4]]);
    }
    relay.close();
    // what comes after a refused CONNECT is not processed [MQTT-3.1.4-5]
    expect(await gateway.registry.find(serial)).toMatchObject({ state: 'enrolled', attempt: 0 });
  });

  it.each([6, 0, 0x84, 255])('that speaks level %i gets CONNACK 1 [MQTT-3.1.2-2]', async (level) => {
    const device = await connectRaw(gateway.broker);
    const connecting = connectWith('other-version');
    connecting[8] = level;
    device.send(connecting);
    await device.closed;
    expect(device.heard.map(({ type, body }) => [type, ...body])).toEqual([[connack, 0, 1]]);
  });
});

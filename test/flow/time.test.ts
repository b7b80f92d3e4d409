import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { encode } from 'cborg';
import type { IPublishPacket } from 'mqtt';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import { readPayload } from '../../protocol/encoding.ts';
import { derivePsk } from '../../protocol/psk.ts';
import { timeReplyTopic, timeTopic } from '../../protocol/time.ts';
import { connectOnce } from '../../runtime/mqtt-connect.ts';
import { connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { connectRaw, connectWith, packet, publishOf, type RawPacket, text } from '../support/raw-mqtt.ts';
import { isTimeOf, newNonce, pinnedTimeKey, type TimeAnswer } from '../support/time.ts';

const run = promisify(execFile);

describe.skipIf(lacks('redis-server'))('a device whose clock is unset', () => {
  let gateway: Gateway;
  let pinned: string;
  beforeAll(async () => {
    gateway = await startGateway();
    pinned = pinnedTimeKey(gateway.dataDir);
  });
  afterAll(() => gateway?.close());

  /** Verifies as a device does. */
  function accept(nonce: string, { status, time, sig }: TimeAnswer, before: number): void {
    expect(status).toBe('accepted');
    expect(isTimeOf(nonce, time, Buffer.from(sig, 'base64'), pinned)).toBe(true);
    expect(time).toBeGreaterThanOrEqual(Math.floor(before / 1000));
    expect(time).toBeLessThanOrEqual(Math.floor(Date.now() / 1000));
  }

  it('gets the time signed for its nonce, without a token, a serial or a subscription, and goes on to its certificate', async () => {
    const { serial, token } = await gateway.enrol('clockless');
    const device = await connectDevice(gateway.broker);
    for (const qos of [0, 1] as const) {
      const [nonce, before] = [newNonce(), Date.now()];
      await device.client.publishAsync(timeTopic(nonce), '', { qos });
      accept(nonce, (await device.next()) as unknown as TimeAnswer, before);
    }
    // the questions have bound the connection to no serial
    await device.client.publishAsync(requestTopic(serial), JSON.stringify({ token, key: 'ec' }), { qos: 1 });
    expect(await device.next()).toMatchObject({ status: 'accepted', thingName: serial });
    await device.client.endAsync(true);
  });

  it('may ask on a connection by pre-shared key', async () => {
    const { serial, token } = await gateway.enrolOnRoster('clockless-psk');
    const key = { psk: derivePsk(serial, token), identity: serial };
    const psk = { pskCallback: () => key, checkServerIdentity: () => undefined };
    const device = await connectDevice({ ...gateway.broker, caPem: '' }, psk);
    const [nonce, before] = [newNonce(), Date.now()];
    await device.client.publishAsync(timeTopic(nonce), '{}', { qos: 1 });
    accept(nonce, (await device.next()) as unknown as TimeAnswer, before);
    await device.client.endAsync(true);
  });

  it('hears it right after the PUBACK, in a packet that is no longer than docs/protocol.md says, in JSON and CBOR', async () => {
    const page = readFileSync(join(import.meta.dirname, '../../docs/protocol.md'), 'utf8');
    const [, json, cbor] = (/has (\d+) bytes at most in\s+JSON and (\d+) in CBOR/.exec(page) ?? []).map(Number);
    for (const [payload, most] of [
      [Buffer.alloc(0), json],
      [Buffer.from(encode({})), cbor],
    ] as const) {
      const device = await connectRaw(gateway.broker);
      const nonce = 'f'.repeat(64);
      device.send(connectWith('clockless'), publishOf(timeTopic(nonce), payload));
      const { type, flags, body } = await device.next(3);
      expect(device.heard.map((each) => each.type)).toEqual([2, 4, 3]);
      expect(packet((type << 4) | flags, body).length).toBeLessThanOrEqual(most ?? 0);
      device.socket.destroy();
    }
    // the longest: both numbers of the signature with a zero before them
    const longest = (body: string | Buffer) => packet(0x32, text(timeReplyTopic), Buffer.alloc(2), Buffer.from(body));
    const answer = { status: 'accepted', time: 2 ** 31 };
    const sig = Buffer.alloc(72);
    expect([
      longest(JSON.stringify({ ...answer, sig: sig.toString('base64') })).length,
      longest(Buffer.from(encode({ ...answer, sig }))).length,
    ]).toEqual([json, cbor]);
  });

  it('may ask in MQTT 5, with Correlation Data, and hears it at the topic of the time alone', async () => {
    const { port, caPem } = gateway.broker;
    const client = await connectOnce({ host: 'localhost', port, ca: caPem }, 5);
    const heard: IPublishPacket[] = [];
    client.on('message', (_topic, _payload, each) => void heard.push(each));
    const correlationData = Buffer.from('t-1');
    for (const responseTopic of [undefined, timeReplyTopic]) {
      const [nonce, before] = [newNonce(), Date.now()];
      const asked = { correlationData, ...(responseTopic === undefined ? {} : { responseTopic }) };
      await client.publishAsync(timeTopic(nonce), '', { qos: 1, properties: asked });
      await expect.poll(() => heard.length).toBe(1);
      const [answer] = heard.splice(0) as [IPublishPacket];
      expect([answer.topic, answer.properties?.correlationData]).toEqual([timeReplyTopic, correlationData]);
      accept(nonce, JSON.parse(String(answer.payload)), before);
    }
    for (const responseTopic of [`${timeReplyTopic}/x`, 'cvm/reply/other']) {
      const asking = client.publishAsync(timeTopic(newNonce()), '', { qos: 1, properties: { responseTopic } });
      await expect(asking).rejects.toMatchObject({ code: 0x87 });
    }
    expect([client.connected, heard]).toEqual([true, []]);
    await client.endAsync(true);
  });

  it('is refused in words, on its connection, which stays', async () => {
    const ask = async (nonce: string, options: { retain?: boolean }) => {
      await device.client.publishAsync(timeTopic(nonce), '', { qos: 1, ...options });
      return device.next();
    };
    const device = await connectDevice(gateway.broker);
    for (const nonce of ['', 'short', 'x'.repeat(65), 'with a space in it'])
      expect(await ask(nonce, {})).toMatchObject({
        status: 'rejected',
        statusCode: 400,
        errorCode: 'InvalidRequest',
        errorMessage: expect.stringContaining('a nonce has 11 to 64'),
      });
    expect(await ask(newNonce(), { retain: true })).toMatchObject({ errorMessage: expect.stringContaining('retain') });
    const heard: Buffer[] = [];
    device.client.on('message', (_topic, payload) => heard.push(payload));
    await device.client.publishAsync(timeTopic('short'), Buffer.from(encode({})), { qos: 1 });
    await expect.poll(() => heard.length).toBe(1);
    // in CBOR, as it asked
    expect(readPayload(heard[0] as Buffer)).toMatchObject({ value: { errorCode: 'InvalidRequest' } });
    expect((heard[0] as Buffer)[0]).not.toBe(0x7b);
    await device.client.endAsync(true);
  });

  it('that asks with QoS 2 is told so, and its connection ends', async () => {
    const device = await connectRaw(gateway.broker);
    device.send(connectWith('qos2'), packet(0x34, text(timeTopic(newNonce())), Buffer.from([0, 1])));
    const { body } = (await device.next(3)) as RawPacket;
    expect(body.toString()).toContain('QoS 2 is not offered');
    await device.closed;
  });

  it.skipIf(lacks('mosquitto_rr'))('may be mosquitto_rr, which subscribes first', async () => {
    const [nonce, before] = [newNonce(), Date.now()];
    const args = ['-V', 'mqttv311', '-h', 'localhost', '-p', String(gateway.broker.port), '-q', '1', '-W', '45'];
    const topics = ['--cafile', gateway.broker.caFile, '-t', timeTopic(nonce), '-e', timeReplyTopic, '-n'];
    const { stdout } = await run('mosquitto_rr', [...args, ...topics]);
    accept(nonce, JSON.parse(stdout) as TimeAnswer, before);
  });
});

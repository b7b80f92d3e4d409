import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ackTopic, replyTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { derivePsk } from '../../protocol/psk.ts';
import { acknowledgementJob, jobKey } from '../../queue/stored-keys.ts';
import { connectOnce } from '../../runtime/mqtt-connect.ts';
import { askOnce } from '../support/device.ts';
import { connectFleetDevice, create, fleetTemplate, provision, templateFolder } from '../support/fleet-device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

type Device = { readonly serial: string; readonly token: string };
type Connect = Parameters<typeof connectFleetDevice>[1];
const versions = [4, 5] as const;
const idOf = (index: number) => index.toString(16).padStart(64, '0');
const range = (count: number) => Array.from({ length: count }, (_, index) => index);
const withPassword = ({ serial, token }: Device): Connect => ({ username: serial, password: token });

/** What a stranger may present, who knows the serials of a site and the token of none. */
const strangers: Record<string, { connect(serial: string): Connect; request?: object }> = {
  'no token': { connect: () => ({}) },
  'a wrong token in CONNECT': { connect: (serial) => withPassword({ serial, token: `wrong-${'x'.repeat(20)}` }) },
  'a wrong token in a request': { connect: () => ({}), request: { token: `wrong-${'y'.repeat(20)}`, key: 'ec' } },
  'a wrong pre-shared key': {
    connect: (identity) => ({
      pskCallback: () => ({ psk: derivePsk(identity, 'wrong'), identity }),
      ...({ checkServerIdentity: () => undefined } as object),
    }),
  },
};

describe.skipIf(lacks('redis-server'))('acknowledgements, which come before the requests in line,', () => {
  let gateway: Gateway;
  let redis: Redis;
  const templates = templateFolder({ plain: fleetTemplate() });
  beforeEach(async () => {
    // a minute would be over before a slow machine is done
    const limits = { acknowledgementsPerDeviceSeconds: 600 };
    gateway = await startGateway({ logLevel: 'warn', limits, env: { CVM_TEMPLATES_DIR: templates.folder } });
    redis = new Redis(gateway.redis.url);
  });
  afterEach(async () => {
    await redis?.quit();
    await gateway?.close();
  });

  const acknowledgementsStored = async () =>
    (await gateway.broker.metric('cvm_broker_messages_stored_total', { kind: 'acknowledgement' })) +
    (await gateway.broker.metric('cvm_broker_messages_stored_total', { kind: 'registration' }));

  /** The queue as workers take it, the next one first: `ack`, or the serial that asks. */
  async function queued(): Promise<string[]> {
    const ids = (await redis.lrange(jobKey('wait'), 0, -1)).reverse();
    const jobs = await Promise.all(ids.map((id) => redis.hmget(jobKey(id), 'name', 'data')));
    return jobs.map(([name, data]) => (name === acknowledgementJob ? name : JSON.parse(data ?? '').serial));
  }

  async function ask(device: Device, fields: object): Promise<void> {
    const client = await connectOnce({ host: 'localhost', port: gateway.broker.port, ca: gateway.broker.caPem });
    const payload = JSON.stringify({ token: device.token, ...fields });
    await client.publishAsync(requestTopic(device.serial), payload, { qos: 1 });
    await client.endAsync(true);
  }

  it.each(Object.entries(strangers))(
    'are taken from no stranger with %s, in either version and dialect',
    async (what, { connect, request }) => {
      const victims = await Promise.all(range(3).map((index) => gateway.enrolOnRoster(`victim-${index}`)));
      let refused = 0;
      for (const [index, { serial }] of [...victims, ...victims].entries()) {
        const version = versions[index % 2] ?? 4;
        const device = await connectFleetDevice(gateway.broker, connect(serial), version).catch(() => undefined);
        // a wrong key does not even get a connection
        if (device === undefined) continue;
        await device.subscribe(replyTopic(serial));
        if (request !== undefined) await device.publish(requestTopic(serial), request);
        for (const certificate of range(3))
          await device.publish(ackTopic(serial), { certificateId: idOf(certificate) });
        const parameters = { SerialNumber: serial };
        await device.publish(provision('plain', 'json'), { certificateOwnershipToken: 'x'.repeat(86), parameters });
        await expect.poll(() => device.heard.length).toBeGreaterThanOrEqual(4);
        expect(device.heard.every(({ body }) => [400, 401, 403, 429].includes(body.statusCode ?? 0))).toBe(true);
        refused++;
        await device.leave();
      }
      expect(refused).toBe(what.includes('key') ? 0 : 6);
      expect(await acknowledgementsStored()).toBe(0);
    },
  );

  it('are ten in a minute for each token, spent or stolen, on all its connections, and the others are refused', async () => {
    const spent = await gateway.enrolOnRoster('spent');
    const { certificateId } = await askOnce(gateway.broker, spent.serial, { token: spent.token, key: 'ec' });
    const first = await connectFleetDevice(gateway.broker, withPassword(spent));
    await first.publish(ackTopic(spent.serial), { certificateId: certificateId ?? '' });
    await expect.poll(async () => (await gateway.registry.find(spent.serial))?.deliveredAt).toBeDefined();
    await first.leave();
    const stolen = await gateway.enrolOnRoster('stolen');
    const [early, served] = [await gateway.enrolOnRoster('early'), await gateway.enrolOnRoster('served')];
    const got = await askOnce(gateway.broker, served.serial, { token: served.token, key: 'ec' });

    await gateway.worker.close();
    await ask(early, { key: 'ec' });
    const heard: { statusCode?: number }[] = [];
    const psk = { psk: derivePsk(stolen.serial, stolen.token), identity: stolen.serial };
    const byKey: Connect = { pskCallback: () => psk, ...({ checkServerIdentity: () => undefined } as object) };
    for (const [serial, connect] of [
      [spent.serial, withPassword(spent)],
      [stolen.serial, byKey],
    ] as const)
      for (const connection of range(4)) {
        const device = await connectFleetDevice(gateway.broker, connect, versions[connection % 2] ?? 4);
        for (const index of range(5))
          await device.publish(ackTopic(serial), { certificateId: idOf(1 + connection * 5 + index) });
        await device.client.unsubscribeAsync('the rejections have come when this is answered');
        heard.push(...device.heard.map(({ body }) => body));
        await device.leave();
      }
    const honest = await connectFleetDevice(gateway.broker, withPassword(served));
    await honest.publish(ackTopic(served.serial), { certificateId: got.certificateId ?? '' });
    await honest.leave();
    // nine of the spent token, whose device has acknowledged in this minute; ten of the stolen one; and the honest one
    expect(await queued()).toEqual([...Array(20).fill('ack'), 'early']);
    expect(heard.map(({ statusCode }) => statusCode)).toEqual(Array(21).fill(429));
    gateway.startOneWorker();
    await expect.poll(async () => (await gateway.registry.find(served.serial))?.deliveredAt).toBeDefined();
    await expect.poll(async () => (await gateway.registry.find(early.serial))?.state).toBe('registered');
  });

  it('are as few where they are registrations by Fleet Provisioning', async () => {
    const [device, early] = [await gateway.enrolOnRoster('registers'), await gateway.enrolOnRoster('early')];
    const fleet = await connectFleetDevice(gateway.broker, withPassword(device));
    const { certificateOwnershipToken } = (await fleet.ask(create('json'), {})).body;
    await gateway.worker.close();
    await ask(early, { key: 'ec' });
    const parameters = { SerialNumber: device.serial };
    const second = await connectFleetDevice(gateway.broker, withPassword(device));
    // eight of a connection may wait for their answer
    for (const connection of [fleet, second])
      for (const _ of range(8))
        await connection.publish(provision('plain', 'json'), { certificateOwnershipToken, parameters });
    expect(await queued()).toEqual([...Array(10).fill('ack'), 'early']);
    await Promise.all([fleet, second].map((connection) => connection.leave()));
  });
});

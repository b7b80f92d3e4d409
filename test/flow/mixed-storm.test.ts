import { ListCertificatesCommand, ListThingPrincipalsCommand } from '@aws-sdk/client-iot';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import { connectDevice } from '../support/device.ts';
import { connectFleetDevice, create, fleetTemplate, provision, templateFolder } from '../support/fleet-device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { full, sized } from '../support/size.ts';

/** Activations a second that the account allows. 500 devices take 50 seconds by it, 24 of the short run ten. */
const UpdateCertificate = full ? 10 : 2;

/** Longer than the line, in milliseconds. */
const patienceMs = 540_000;

describe.skipIf(lacks('redis-server'))('a storm of devices of both dialects', { timeout: 900_000 }, () => {
  let gateway: Gateway;
  const templates = templateFolder({ plain: fleetTemplate() });
  beforeAll(async () => {
    gateway = await startGateway({
      quotas: { UpdateCertificate },
      env: { CVM_TEMPLATES_DIR: templates.folder, CVM_QUOTAS: `UpdateCertificate=${UpdateCertificate}` },
    });
  });
  afterAll(async () => {
    await gateway?.close();
    templates.remove();
  });

  type Ours = Awaited<ReturnType<typeof connectDevice>>;
  type Fleet = Awaited<ReturnType<typeof connectFleetDevice>>;

  /** In our own words: it waits on its connection, and hears `pending`. */
  async function askInOurs(device: Ours, serial: string, token: string) {
    await device.client.publishAsync(requestTopic(serial), JSON.stringify({ token }), { qos: 1 });
    const { certificateId } = await device.next(patienceMs);
    await device.client.endAsync(true);
    return { certificateId, notices: device.notices };
  }

  async function ask(device: Fleet, topic: string, fields: object | Buffer = Buffer.alloc(0)) {
    await device.publish(topic, fields);
    return (await device.next(patienceMs)).body;
  }

  /** In those of AWS: it is told 429 with the seconds, and asks again after them. */
  async function provisionInFleet(device: Fleet, serial: string) {
    const refusals: string[] = [];
    for (const until = performance.now() + patienceMs; performance.now() < until; ) {
      const {
        certificateId,
        certificateOwnershipToken,
        statusCode,
        errorMessage = '',
      } = await ask(device, create('json'));
      if (statusCode === undefined) {
        const fields = { certificateOwnershipToken, parameters: { SerialNumber: serial } };
        const { thingName } = await ask(device, provision('plain', 'json'), fields);
        await device.leave();
        return { certificateId, thingName, refusals };
      }
      expect([statusCode, errorMessage]).toEqual([429, expect.stringMatching(/in the line.*; ask again in \d+ s$/)]);
      refusals.push(errorMessage);
      await new Promise((resolve) => setTimeout(resolve, 1000 * Number(/(\d+) s$/.exec(errorMessage)?.[1])));
    }
    throw new Error(`${serial} was not answered in ${patienceMs / 1000} s`);
  }

  it('gives each one certificate, also where it asks in both, and tells each in its own words how long it waits', async () => {
    const names = Array.from({ length: sized(500, 24) }, (_, index) => `storm-${index}`);
    // one after the other: test, gateway and stand-in share a process, and calls and handshakes have deadlines
    const devices = [];
    for (const name of names) devices.push(await gateway.enrolOnRoster(name));
    // every third one asks in both
    const storm = [];
    for (const [index, { serial, token }] of devices.entries()) {
      const ours = index % 3 === 0 ? undefined : await connectDevice(gateway.broker);
      const as = { username: serial, password: token };
      const fleet = index % 3 === 1 ? undefined : await connectFleetDevice(gateway.broker, as);
      storm.push({ serial, token, ours, fleet });
    }
    const got = await Promise.all(
      storm.map(async ({ serial, token, ...by }) => {
        const [ours, fleet] = await Promise.all([
          by.ours && askInOurs(by.ours, serial, token),
          by.fleet && provisionInFleet(by.fleet, serial),
        ]);
        return { serial, ours, fleet };
      }),
    );
    for (const { serial, ours, fleet } of got) {
      const row = await gateway.registry.find(serial);
      const { principals = [] } = await gateway.iot.send(new ListThingPrincipalsCommand({ thingName: serial }));
      expect(principals).toEqual([expect.stringContaining(String(row?.certificateId))]);
      for (const each of [ours, fleet])
        if (each !== undefined) expect(each.certificateId, serial).toBe(row?.certificateId);
      if (fleet !== undefined) expect(fleet.thingName).toBe(serial);
    }
    expect(await countCertificates()).toBe(names.length);
    expect(got.flatMap(({ ours }) => ours?.notices ?? []).length).toBeGreaterThan(0);
    expect(got.flatMap(({ fleet }) => fleet?.refusals ?? []).length).toBeGreaterThan(0);
  });

  async function countCertificates(): Promise<number> {
    let [count, marker] = [0, undefined as string | undefined];
    do {
      const page = await gateway.iot.send(new ListCertificatesCommand({ pageSize: 250, ...(marker && { marker }) }));
      count += page.certificates?.length ?? 0;
      marker = page.nextMarker;
    } while (marker !== undefined);
    return count;
  }
});

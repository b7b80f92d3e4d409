import { DescribeThingCommand } from '@aws-sdk/client-iot';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeOwnershipToken } from '../../sealing/ownership.ts';
import { deriveReplyKeys } from '../../sealing/replies.ts';
import {
  answersOf,
  connectFleetDevice,
  create,
  createFromCsr,
  fleetTemplate,
  provision,
  templateFolder,
} from '../support/fleet-device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

const settle = (ms = 400) => new Promise((resolve) => setTimeout(resolve, ms));

describe.skipIf(lacks('redis-server'))('a device that wants what is another device’s by Fleet Provisioning', () => {
  let gateway: Gateway;
  const templates = templateFolder({
    pump: fleetTemplate({ AttributePayload: { model: 'pump' } }),
    prefixed: fleetTemplate({ ThingName: { 'Fn::Join': ['', ['vic', { Ref: 'SerialNumber' }]] } }),
  });
  beforeAll(async () => {
    gateway = await startGateway({ env: { CVM_TEMPLATES_DIR: templates.folder } });
  });
  afterAll(async () => {
    await gateway?.close();
    templates.remove();
  });

  const connect = async (serial: string) => {
    const { token } = await gateway.enrolOnRoster(serial);
    const device = await connectFleetDevice(gateway.broker, { username: serial, password: token });
    return { serial, token, ...device };
  };
  const path = provision('pump', 'json');
  const acknowledgedAt = async (serial: string) => (await gateway.registry.find(serial))?.deliveredAt;
  const refusal = { statusCode: 400, errorCode: 'InvalidCertificateOwnershipToken', errorMessage: expect.any(String) };

  it('cannot use the ownership token of another device, with whatever serial in its parameters', async () => {
    const [victim, attacker] = [await connect('victim-1'), await connect('attacker-1')];
    const { certificateOwnershipToken } = (await victim.ask(create('json'))).body;
    await attacker.ask(create('json'));
    for (const SerialNumber of ['victim-1', 'attacker-1'])
      expect((await attacker.ask(path, { certificateOwnershipToken, parameters: { SerialNumber } })).body).toEqual(
        refusal,
      );
    expect(await acknowledgedAt('victim-1')).toBeUndefined();
    const parameters = { SerialNumber: 'victim-1' };
    expect((await victim.ask(path, { certificateOwnershipToken, parameters })).body).toMatchObject({
      thingName: 'victim-1',
    });
    for (const { leave } of [victim, attacker]) await leave();
  });

  it('cannot be registered as another device, whatever the template makes of its parameters', async () => {
    const [victim, attacker] = [await connect('victim-2'), await connect('attacker-2')];
    await victim.ask(create('json'));
    const { certificateOwnershipToken } = (await attacker.ask(create('json'))).body;
    for (const [name, SerialNumber] of [
      ['pump', 'victim-2'],
      ['prefixed', 'tim-2'],
    ] as const) {
      const { body } = await attacker.ask(provision(name, 'json'), {
        certificateOwnershipToken,
        parameters: { SerialNumber },
      });
      expect(body).toMatchObject({ statusCode: 403, errorCode: 'Forbidden' });
    }
    const victimsThing = await gateway.iot.send(new DescribeThingCommand({ thingName: 'victim-2' }));
    expect(victimsThing.attributes).toEqual({});
    for (const { leave } of [victim, attacker]) await leave();
  });

  it('gets nothing for an ownership token that it overheard: without the registration token it proves nothing', async () => {
    const victim = await connect('victim-3');
    const { certificateOwnershipToken } = (await victim.ask(create('json'))).body;
    const parameters = { SerialNumber: 'victim-3' };
    const guess = 'a-registration-token-that-is-wrong';
    for (const options of [{}, { username: 'victim-3' }, { username: 'victim-3', password: guess }]) {
      const attacker = await connectFleetDevice(gateway.broker, options);
      const { topic, body } = await attacker.ask(path, { certificateOwnershipToken, parameters });
      expect([topic, body.thingName]).toEqual([`${path}/rejected`, undefined]);
      await attacker.leave();
    }
    // one that it makes itself fits its wrong registration token, which is not known to be right
    const attacker = await connectFleetDevice(gateway.broker, { username: 'victim-3', password: guess });
    const certificateId = (await gateway.registry.find('victim-3'))?.certificateId ?? '';
    const forged = makeOwnershipToken(deriveReplyKeys('victim-3', guess), certificateId, Date.now() + 3_600_000);
    const { body } = await attacker.askOnce(path, { certificateOwnershipToken: forged, parameters });
    expect(body).toMatchObject({ statusCode: 429, errorCode: 'Throttled' });
    expect(await acknowledgedAt('victim-3')).toBeUndefined();
    for (const { leave } of [victim, attacker]) await leave();
  });

  it('cannot use one again after the device was reissued, nor after its hour', async () => {
    const device = await connect('reissued');
    const { certificateOwnershipToken, certificateId = '' } = (await device.ask(create('json'))).body;
    const parameters = { SerialNumber: 'reissued' };
    expect((await device.ask(path, { certificateOwnershipToken, parameters })).body).toMatchObject({
      thingName: 'reissued',
    });
    const ended = makeOwnershipToken(deriveReplyKeys('reissued', device.token), certificateId, Date.now() - 2000);
    expect((await device.ask(path, { certificateOwnershipToken: ended, parameters })).body).toEqual({
      ...refusal,
      errorMessage: expect.stringContaining('has ended'),
    });
    const password = await gateway.reissueOnRoster('reissued');
    const again = await connectFleetDevice(gateway.broker, { username: 'reissued', password });
    expect((await again.ask(path, { certificateOwnershipToken, parameters })).body).toEqual(refusal);
    // the connection that it had before
    expect((await device.ask(path, { certificateOwnershipToken, parameters })).body).toMatchObject({ statusCode: 401 });
    for (const { leave } of [device, again]) await leave();
  });

  it('hears nothing of another device, whatever it subscribes to', async () => {
    const filters = [createFromCsr('json'), create('json'), path].flatMap((topic) => [
      ...answersOf(topic),
      `${topic}/+`,
    ]);
    const ears = [await connectFleetDevice(gateway.broker), await connect('attacker-5')];
    for (const { subscribe } of ears) for (const filter of filters) await subscribe(filter);
    const victim = await connect('victim-5');
    const { certificateOwnershipToken } = (await victim.ask(create('json'))).body;
    await victim.ask(path, { certificateOwnershipToken, parameters: { SerialNumber: 'victim-5' } });
    await settle();
    expect(ears.flatMap(({ heard }) => heard)).toEqual([]);
    for (const { leave } of [...ears, victim]) await leave();
  });

  it('cannot publish an answer: the connection is closed', async () => {
    const attacker = await connectFleetDevice(gateway.broker);
    const closed = new Promise<void>((resolve) => attacker.client.once('close', () => resolve()));
    attacker.client.publish(`${create('json')}/accepted`, '{}', { qos: 1 }, () => {});
    await closed;
  });
});

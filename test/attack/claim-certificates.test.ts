import { connect as connectTls } from 'node:tls';
import { DescribeCertificateCommand, DescribeThingCommand, ListThingPrincipalsCommand } from '@aws-sdk/client-iot';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeDeviceKey } from '../../gateway-sim/device-key.ts';
import { revokeClaim } from '../../operator/claims.ts';
import { derivePsk } from '../../protocol/psk.ts';
import { type Claim, makeClaim, signedByOther, signedBySiteCa, tellTable } from '../support/claims.ts';
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
const path = provision('pump', 'json');

describe.skipIf(lacks('redis-server'))('a claim certificate', () => {
  let gateway: Gateway;
  const templates = templateFolder({
    pump: fleetTemplate(
      { AttributePayload: { model: 'pump' } },
      { Parameters: { SerialNumber: { Type: 'String' }, RegistrationToken: { Type: 'String' } } },
    ),
    valve: fleetTemplate(),
  });
  beforeAll(async () => {
    gateway = await startGateway({ env: { CVM_TEMPLATES_DIR: templates.folder, CVM_CLAIMS: '1' } });
  });
  afterAll(async () => {
    await gateway?.close();
    templates.remove();
  });

  const connect = ({ cert, key }: Claim, options: object = {}) =>
    connectFleetDevice(gateway.broker, { cert, key, ...options });
  type Device = Awaited<ReturnType<typeof connect>>;
  const enrol = (serial: string, claimGroup: string | undefined = 'pumps') =>
    gateway.enrolOnRoster(serial, { claimGroup });
  const revoke = ({ id }: Claim) =>
    revokeClaim(id, { claims: gateway.asOperator.claims, audit: gateway.audit, now: Date.now });
  const served = async ({ id }: Claim) => (await gateway.asOperator.claims.find(id))?.served;
  const row = (serial: string) => gateway.registry.find(serial);
  const waiting = async (device: Device) => (await device.ask(create('json'))).body;
  const ask = async (device: Device, certificateOwnershipToken: string | undefined, parameters: object, topic = path) =>
    (await device.ask(topic, { certificateOwnershipToken, parameters })).body;
  const provisionAs = async (device: Device, SerialNumber: string, topic = path) =>
    ask(device, (await waiting(device)).certificateOwnershipToken, { SerialNumber }, topic);
  const statusOf = async (certificateId = '') =>
    (await gateway.iot.send(new DescribeCertificateCommand({ certificateId }))).certificateDescription?.status;

  it.each(['json', 'cbor'] as const)('stands for an enrolled device of its group, by %s', async (form) => {
    const [claim, serial] = [await makeClaim(gateway), `P-${form}`];
    await enrol(serial);
    const device = await connect(claim);
    const { csrPem } = await makeDeviceKey(serial);
    const { certificateId, certificateOwnershipToken, privateKey } = (
      await device.ask(createFromCsr(form), { certificateSigningRequest: csrPem })
    ).body;
    expect([await statusOf(certificateId), privateKey]).toEqual(['INACTIVE', undefined]);
    const asked = { certificateOwnershipToken, parameters: { SerialNumber: serial } };
    const accepted = { deviceConfiguration: {}, thingName: serial };
    expect((await device.ask(provision('pump', form), asked)).body).toEqual(accepted);
    // its answer was lost
    expect((await device.ask(provision('pump', form), asked)).body).toEqual(accepted);
    expect(await statusOf(certificateId)).toBe('ACTIVE');
    expect(await row(serial)).toMatchObject({ certificateId, state: 'registered', deliveredAt: expect.any(Number) });
    const thing = await gateway.iot.send(new DescribeThingCommand({ thingName: serial }));
    expect(thing.attributes).toEqual({ model: 'pump' });
    expect(await served(claim)).toBe(1);
    await device.leave();
  });

  it('that was stolen is of no use for another template', async () => {
    const claim = await makeClaim(gateway);
    await enrol('P-template');
    const thief = await connect(claim);
    for (const name of ['valve', 'none'])
      expect(await provisionAs(thief, 'P-template', provision(name, 'json'))).toMatchObject({ errorCode: 'Forbidden' });
    expect(await row('P-template')).toMatchObject({ state: 'enrolled' });
    await thief.leave();
  });

  it('that was stolen is of no use for a serial beyond its pattern, of another group, or that is not enrolled: all in the same words', async () => {
    const claim = await makeClaim(gateway);
    await enrol('V-1');
    await enrol('P-valve', 'valves');
    await gateway.enrolOnRoster('P-none');
    const thief = await connect(claim);
    const answers = new Set<string>();
    for (const serial of ['V-1', 'P-valve', 'P-none', 'P-unknown', '../P', ''])
      answers.add(JSON.stringify(await provisionAs(thief, serial)));
    expect([...answers]).toEqual([expect.stringContaining('does not stand for a device of this serial')]);
    expect(await served(claim)).toBe(0);
    await thief.leave();
  });

  it('that was stolen takes nothing from a device that has its certificate, nor from one that was reissued or blocked', async () => {
    const claim = await makeClaim(gateway);
    for (const serial of ['P-spent', 'P-reissued', 'P-blocked']) await enrol(serial);
    const device = await connect(claim);
    for (const serial of ['P-spent', 'P-reissued']) {
      expect(await provisionAs(device, serial)).toMatchObject({ thingName: serial });
      await gateway.queueIsEmpty();
    }
    const certificates = [(await row('P-spent'))?.certificateId, (await row('P-reissued'))?.certificateId];
    await gateway.reissueOnRoster('P-reissued');
    const blocked = await row('P-blocked');
    if (blocked !== undefined) await gateway.registry.block(blocked);
    const thief = await connect(claim);
    expect(await provisionAs(thief, 'P-spent')).toMatchObject({ errorCode: 'AlreadyProvisioned' });
    expect(await provisionAs(thief, 'P-reissued')).toMatchObject({ errorCode: 'AlreadyProvisioned' });
    expect(await provisionAs(thief, 'P-blocked')).toMatchObject({ errorCode: 'Forbidden' });
    for (const certificateId of certificates) expect(await statusOf(certificateId)).toBe('ACTIVE');
    for (const { leave } of [device, thief]) await leave();
  });

  it('is refused at once when it is revoked: also on connections that are open, and for what it asked for before', async () => {
    const claim = await makeClaim(gateway);
    await enrol('P-revoked');
    const thief = await connect(claim);
    const { certificateOwnershipToken } = await waiting(thief);
    await revoke(claim);
    const parameters = { SerialNumber: 'P-revoked' };
    expect(await ask(thief, certificateOwnershipToken, parameters)).toMatchObject({ statusCode: 403 });
    await gateway.queueIsEmpty();
    expect(await waiting(thief)).toMatchObject({ errorCode: 'Forbidden' });
    const again = await connect(claim);
    expect(await waiting(again)).toMatchObject({ errorCode: 'Forbidden' });
    expect(await row('P-revoked')).toMatchObject({ state: 'enrolled' });
    for (const { leave } of [thief, again]) await leave();
  });

  it.each(['TLSv1.2', 'TLSv1.3'] as const)(
    'is not shown by a session that is resumed, %s, so a ticket does not outlive it',
    async (version) => {
      const claim = await makeClaim(gateway);
      const { port, caPem } = gateway.broker;
      const options = { host: 'localhost', port, ca: caPem, cert: claim.cert, key: claim.key, maxVersion: version };
      const session = await new Promise<Buffer | undefined>((resolve) => {
        const socket = connectTls(options);
        socket.once('session', resolve);
        setTimeout(() => resolve(socket.getSession()), 500);
        setTimeout(() => socket.destroy(), 600);
      });
      await revoke(claim);
      // the key is not shown again: only the ticket could stand for it
      const resumed: object = { maxVersion: version, ...(session && { session }) };
      const thief = await connectFleetDevice(gateway.broker, resumed);
      expect(await waiting(thief)).toMatchObject({ errorCode: 'InvalidToken' });
      await thief.leave();
    },
  );

  it('counts for nothing beside a pre-shared key: the device that has proved itself is meant, and no other one', async () => {
    const claim = await makeClaim(gateway);
    await revoke(claim);
    const { token } = await enrol('P-psk');
    await enrol('P-victim');
    const { cert, key } = claim;
    const byKey: object = {
      ...{ cert, key, ciphers: 'PSK-AES128-GCM-SHA256', maxVersion: 'TLSv1.2' },
      checkServerIdentity: () => undefined,
      pskCallback: () => ({ psk: derivePsk('P-psk', token), identity: 'P-psk' }),
    };
    const device = await connectFleetDevice({ ...gateway.broker, caPem: '' }, byKey);
    expect(await provisionAs(device, 'P-victim')).toMatchObject({ errorCode: 'Forbidden' });
    expect(await provisionAs(device, 'P-psk')).toMatchObject({ thingName: 'P-psk' });
    await device.leave();
  });

  it('serves as many devices as it may, however many come at once, and no more', async () => {
    const claim = await makeClaim(gateway, { most: 2 });
    const serials = ['P-m1', 'P-m2', 'P-m3', 'P-m4', 'P-m5'];
    for (const serial of serials) await enrol(serial);
    const devices = await Promise.all(serials.map(() => connect(claim)));
    const tokens = await Promise.all(devices.map(async (each) => (await waiting(each)).certificateOwnershipToken));
    const answers = await Promise.all(
      devices.map((each, index) => ask(each, tokens[index], { SerialNumber: serials[index] })),
    );
    expect(answers.filter(({ thingName }) => thingName !== undefined)).toHaveLength(2);
    expect(answers.filter(({ errorCode }) => errorCode === 'Forbidden')).toHaveLength(3);
    const rows = await Promise.all(serials.map(row));
    expect(rows.filter((each) => each?.state === 'registered')).toHaveLength(2);
    for (const { leave } of devices) await leave();
  });

  it('asks for no more certificates in an hour than it may, also when it provisions none', async () => {
    const claim = await makeClaim(gateway, { mostAnHour: 3 });
    const thief = await connect(claim);
    const refusal = /more certificates than it may/;
    let answer = (await thief.askOnce(create('json'))).body;
    // on a busy machine it is told to wait in between
    for (; !refusal.test(answer.errorMessage ?? ''); answer = (await thief.askOnce(create('json'))).body)
      expect([undefined, 'Throttled']).toContain(answer.errorCode);
    expect((await thief.askOnce(create('json'))).body.errorMessage).toMatch(refusal);
    await expect.poll(async () => (await gateway.asOperator.claims.waiting(claim.id)).waiting).toHaveLength(3);
    await thief.leave();
  });

  it('that has ended, or that the table does not know, or that another CA has signed, gets nothing', async () => {
    const ended = await signedBySiteCa(gateway, Date.now() - 1000);
    await tellTable(gateway, ended);
    const over = await signedBySiteCa(gateway);
    await tellTable(gateway, over, { endsAt: Date.now() - 1000 });
    const forged = await signedByOther();
    await tellTable(gateway, forged);
    const unknown = await signedBySiteCa(gateway);
    for (const [claim, errorCode, words] of [
      [ended, 'InvalidToken', 'it has ended'],
      [over, 'TokenExpired', 'has ended'],
      [forged, 'InvalidToken', 'not signed by the CA'],
      [unknown, 'InvalidToken', 'no claim certificate of this gateway'],
    ] as const) {
      const thief = await connect(claim);
      expect(await waiting(thief)).toMatchObject({ errorCode, errorMessage: expect.stringContaining(words) });
      await thief.leave();
    }
  });

  it('lets no holder hear or use what another holder is answered, at the same time and on the same topics', async () => {
    const claim = await makeClaim(gateway);
    for (const serial of ['P-a', 'P-b']) await enrol(serial);
    const [one, other, ear] = [await connect(claim), await connect(claim), await connect(claim)];
    const filters = [create('json'), path].flatMap((topic) => [...answersOf(topic), `${topic}/+`]);
    for (const { subscribe } of [one, other, ear]) for (const filter of filters) await subscribe(filter);
    const [first, second] = await Promise.all([waiting(one), waiting(other)]);
    expect(first.certificateId).not.toBe(second.certificateId);
    // each has the other's ownership token, as if it had overheard it
    expect(await ask(one, second.certificateOwnershipToken, { SerialNumber: 'P-a' })).toMatchObject({
      statusCode: 400,
    });
    expect(await ask(ear, first.certificateOwnershipToken, { SerialNumber: 'P-b' })).toMatchObject({ statusCode: 400 });
    expect(await ask(one, first.certificateOwnershipToken, { SerialNumber: 'P-a' })).toMatchObject({
      thingName: 'P-a',
    });
    expect(await ask(other, second.certificateOwnershipToken, { SerialNumber: 'P-b' })).toMatchObject({
      thingName: 'P-b',
    });
    await settle();
    expect([one, other, ear].flatMap(({ heard }) => heard)).toEqual([]);
    for (const { leave } of [one, other, ear]) await leave();
  });

  it('gives one device one certificate, whichever of its holders comes first', async () => {
    const claim = await makeClaim(gateway);
    await enrol('P-race');
    const devices = await Promise.all([1, 2, 3, 4].map(() => connect(claim)));
    const answers = await Promise.all(devices.map((each) => provisionAs(each, 'P-race')));
    expect(answers.filter(({ thingName }) => thingName === 'P-race')).toHaveLength(1);
    const { principals } = await gateway.iot.send(new ListThingPrincipalsCommand({ thingName: 'P-race' }));
    expect(principals).toEqual([expect.stringContaining((await row('P-race'))?.certificateId ?? 'none')]);
    expect(await served(claim)).toBe(1);
    for (const { leave } of devices) await leave();
  });

  it('gives one waiting certificate to one device', async () => {
    const claim = await makeClaim(gateway);
    for (const serial of ['P-x', 'P-y']) await enrol(serial);
    const thief = await connect(claim);
    const { certificateOwnershipToken } = await waiting(thief);
    expect(await ask(thief, certificateOwnershipToken, { SerialNumber: 'P-x' })).toMatchObject({ thingName: 'P-x' });
    expect(await ask(thief, certificateOwnershipToken, { SerialNumber: 'P-y' })).toMatchObject({ statusCode: 400 });
    expect(await row('P-y')).toMatchObject({ state: 'enrolled' });
    await thief.leave();
  });

  it('with the registration token as a parameter stands for a device of no group; a wrong token gets nothing, and it is written nowhere', async () => {
    const claim = await makeClaim(gateway);
    const { token: RegistrationToken } = await gateway.enrolOnRoster('P-token');
    await enrol('P-grouped');
    const device = await connect(claim);
    const { certificateOwnershipToken } = await waiting(device);
    const wrong = 'wQ7rT2yU9iO4pA6sD1fG3hJ8';
    for (const SerialNumber of ['P-token', 'P-grouped'])
      expect(await ask(device, certificateOwnershipToken, { SerialNumber, RegistrationToken: wrong })).toMatchObject({
        errorCode: 'InvalidToken',
      });
    const parameters = { SerialNumber: 'P-token', RegistrationToken };
    expect(await ask(device, certificateOwnershipToken, parameters)).toMatchObject({ thingName: 'P-token' });
    const thing = await gateway.iot.send(new DescribeThingCommand({ thingName: 'P-token' }));
    expect(thing.attributes).toEqual({ model: 'pump' });
    for (const secret of [RegistrationToken, wrong]) expect(gateway.logText()).not.toContain(secret);
    await device.leave();
  });
});

describe.skipIf(lacks('redis-server'))('a gateway without claim certificates', () => {
  it('asks clients for no certificate, and takes none', async () => {
    const gateway = await startGateway();
    const claim = await makeClaim(gateway);
    const { cert, key } = claim;
    const device = await connectFleetDevice(gateway.broker, { cert, key });
    expect((await device.ask(create('json'))).body).toMatchObject({ errorCode: 'InvalidToken' });
    await device.leave();
    await gateway.close();
  });
});

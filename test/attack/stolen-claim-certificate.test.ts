import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DescribeThingCommand, ListThingPrincipalsCommand } from '@aws-sdk/client-iot';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { signClaim } from '../../site-tls/certificates.ts';
import { type Claim, makeClaim } from '../support/claims.ts';
import { connectFleetDevice, create, fleetTemplate, provision, templateFolder } from '../support/fleet-device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

const path = provision('pump', 'json');
const templates = templateFolder({
  pump: fleetTemplate(
    { AttributePayload: { place: { Ref: 'Place' } } },
    { Parameters: { SerialNumber: { Type: 'String' }, Place: { Type: 'String', Default: 'north' } } },
  ),
});
afterAll(() => templates.remove());

const connect = ({ port, caPem }: Gateway['broker'], { cert, key }: Claim) =>
  connectFleetDevice({ port, caPem }, { cert, key });
type Device = Awaited<ReturnType<typeof connect>>;
const ask = async (device: Device, ownershipToken: string | undefined, parameters: object) =>
  (await device.ask(path, { certificateOwnershipToken: ownershipToken, parameters })).body;
const waiting = async (device: Device) => (await device.ask(create('json'))).body;
const waitingOnce = async (device: Device) => (await device.askOnce(create('json'))).body;

describe.skipIf(lacks('redis-server'))('the holder of a stolen claim certificate', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    // as fast as it can, so that the test does not wait for its packets
    const limits = { packets: { burst: 1000, perSecond: 1000 }, packetsOfAddress: { burst: 1000, perSecond: 1000 } };
    gateway = await startGateway({ limits, env: { CVM_TEMPLATES_DIR: templates.folder, CVM_CLAIMS: '1' } });
  });
  afterAll(() => gateway?.close());
  const enrol = (serial: string) => gateway.enrolOnRoster(serial, { claimGroup: 'pumps' });

  it('gets one certificate for a serial by two brokers and two workers at the same instant', async () => {
    const claim = await makeClaim(gateway);
    await enrol('P-race');
    const [second, worker] = [await gateway.startOneBroker(), gateway.startOneWorker()];
    const devices = await Promise.all(
      [1, 2, 3, 4].flatMap(() => [connect(gateway.broker, claim), connect(second, claim)]),
    );
    const tokens = await Promise.all(devices.map(async (each) => (await waiting(each)).certificateOwnershipToken));
    const answers = await Promise.all(
      devices.map((each, index) => ask(each, tokens[index], { SerialNumber: 'P-race' })),
    );
    expect(answers.filter(({ thingName }) => thingName === 'P-race')).toHaveLength(1);
    expect(new Set(answers.map(({ errorCode }) => errorCode))).toEqual(new Set([undefined, 'AlreadyProvisioned']));
    const { principals } = await gateway.iot.send(new ListThingPrincipalsCommand({ thingName: 'P-race' }));
    expect(principals).toHaveLength(1);
    for (const { leave } of devices) await leave();
    await worker.close();
  });

  it('can sign no other one with its key, and shows none with the certificate of a device', async () => {
    const claim = await makeClaim(gateway);
    await enrol('P-forged');
    const device = await connect(gateway.broker, claim);
    const { certificatePem = '', privateKey = '' } = await waiting(device);
    const signed = await signedByClaim(claim);
    // another leaf before the real one: what counts is the certificate whose key the client has
    const behind = { ...claim, cert: `${signed.cert}${claim.cert}`, key: signed.key };
    for (const forged of [signed, behind, { ...claim, cert: certificatePem, key: privateKey }]) {
      const thief = await connect(gateway.broker, forged);
      expect(await waiting(thief)).toMatchObject({ errorCode: 'InvalidToken' });
      await thief.leave();
    }
    await device.leave();
  });

  it.each([
    ['with a chain of 60 certificates behind it', 60, 'TLSv1.3'],
    ['with a chain of 60 certificates behind it', 60, 'TLSv1.2'],
    ['that is longer than OpenSSL takes', 400, 'TLSv1.3'],
  ] as const)('ends no broker by a certificate %s (%i, %s)', async (_, length, maxVersion) => {
    const claim = await makeClaim(gateway);
    const { cert, key } = await signedByClaim(claim);
    await connectFleetDevice(gateway.broker, { cert: cert.repeat(length), key, maxVersion } as object).then(
      ({ leave }) => leave(),
      () => {},
    );
    const device = await connect(gateway.broker, claim);
    expect(await waiting(device)).toMatchObject({ certificateId: expect.any(String) });
    await device.leave();
  });

  it.each([
    ['of a character that AWS does not take', 'q7 zz'],
    ['with a line end, as for a log', 'q7\n{"level":"error"}'],
    ['of 801 characters', 'x'.repeat(801)],
  ])('makes no call of AWS by a parameter %s, however often it asks', async (_, Place) => {
    const claim = await makeClaim(gateway);
    const serial = `P-odd-${Place.length}`;
    await enrol(serial);
    const thief = await connect(gateway.broker, claim);
    const { certificateOwnershipToken } = await waiting(thief);
    for (let times = 0; times < 3; times++) {
      const answer = await ask(thief, certificateOwnershipToken, { SerialNumber: serial, Place });
      expect(answer).toMatchObject({ errorCode: 'InvalidRequest', errorMessage: expect.stringContaining('attribute') });
      expect(answer.errorMessage).not.toContain(Place);
    }
    expect(gateway.logText()).not.toContain(JSON.stringify(Place).slice(1, -1));
    expect(gateway.logText()).not.toContain('AWS refuses, until the cure is applied');
    expect(await gateway.registry.find(serial)).toMatchObject({ state: 'enrolled' });
    // it was a slip of the device: it may go on with the same certificate
    expect(await ask(thief, certificateOwnershipToken, { SerialNumber: serial })).toMatchObject({ thingName: serial });
    const thing = await gateway.iot.send(new DescribeThingCommand({ thingName: serial }));
    expect(thing.attributes).toEqual({ place: 'north' });
    await thief.leave();
  });

  it('fills no audit trail by registering a device again and again', async () => {
    const claim = await makeClaim(gateway);
    await enrol('P-again');
    const thief = await connect(gateway.broker, claim);
    const { certificateOwnershipToken } = await waiting(thief);
    for (let times = 0; times < 110; times++)
      expect(await ask(thief, certificateOwnershipToken, { SerialNumber: 'P-again' })).toMatchObject({
        thingName: 'P-again',
      });
    const vended = trailOf(gateway).filter(({ event, serial }) => event === 'vended' && serial === 'P-again');
    expect(vended.length).toBeGreaterThan(0);
    expect(vended.length).toBeLessThanOrEqual(100);
    await thief.leave();
  });
});

describe.skipIf(lacks('redis-server'))('the holder of a claim certificate that is used up', () => {
  it('takes no turn from devices: its requests are refused where AWS has no room for any', async () => {
    // AWS takes one in a hundred seconds
    const quotas = 'CreateKeysAndCertificate=0.01';
    const env = { CVM_TEMPLATES_DIR: templates.folder, CVM_CLAIMS: '1', CVM_QUOTAS: quotas };
    const gateway = await startGateway({ env });
    const usedUp = await makeClaim(gateway, { mostAnHour: 1 });
    const thief = await connect(gateway.broker, usedUp);
    expect((await waiting(thief)).certificateId).toBeDefined();
    // so long until there is no room
    const other = await makeClaim(gateway);
    const device = await connect(gateway.broker, other);
    let answer = await waitingOnce(device);
    for (let times = 0; times < 5 && answer.errorCode === undefined; times++) answer = await waitingOnce(device);
    expect(answer).toMatchObject({ statusCode: 429, errorMessage: expect.stringContaining('in the line') });
    expect(await waitingOnce(thief)).toMatchObject({
      statusCode: 429,
      errorMessage: expect.stringContaining('asks for more certificates than it may'),
    });
    for (const { leave } of [thief, device]) await leave();
    await gateway.close();
  });
});

/** A client certificate that the key of a claim certificate signs, as if that were a CA. */
async function signedByClaim(claim: Claim): Promise<Claim> {
  const folder = mkdtempSync(join(tmpdir(), 'cvm-forged-'));
  const [caCert, caKey] = [join(folder, 'ca.crt'), join(folder, 'ca.key')];
  writeFileSync(caCert, claim.cert);
  writeFileSync(caKey, claim.key, { mode: 0o600 });
  const signed = await signClaim({ caCert, caKey }, { group: 'pumps', endsAt: Date.now() + 86_400_000 }, new Date());
  rmSync(folder, { recursive: true });
  return { ...signed, id: '' };
}

const trailOf = ({ auditDir }: Gateway): { event?: string; serial?: string }[] =>
  readdirSync(auditDir)
    .filter((name) => name.endsWith('.jsonl') || name.endsWith('.log'))
    .flatMap((name) => readFileSync(join(auditDir, name), 'utf8').split('\n'))
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line));

import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { cases } from '../../certify/cases/cases.ts';
import { registrationCases } from '../../certify/cases/registration.ts';
import { brokenRules, isConformant, type Sheet, sheetText } from '../../certify/sheet.ts';
import { claimFaults, faults, fleetFaults, rsaFault, timeFaults } from '../certify/faults.ts';
import { buildFolder, lacksMbedtls, make } from '../support/c-build.ts';
import { type Certification, startCertification } from '../support/certification.ts';
import { copyExample } from '../support/example-packages.ts';
import { lacks, pythonWith } from '../support/lacks.ts';
import { full } from '../support/size.ts';

const root = join(import.meta.dirname, '../..');
const device = `exec node ${join(root, 'dist/test/certify/device.js')}`;

const python = pythonWith('paho.mqtt.client', 'cryptography');
const example = (program: string) =>
  `printf '%s\\n' "$CVM_TOKEN" | exec ${program} "$CVM_HOST" "$CVM_PORT" "$CVM_CA" "$CVM_SERIAL" "$CVM_STATE"`;

/** The simulator reads settings, and would take the variables of the device for wrong ones. */
const simulated = `printf 'serial,token\\n%s,%s\\n' "$CVM_SERIAL" "$CVM_TOKEN" > "$CVM_STATE/device.csv" && exec env -i PATH="$PATH" node ${join(root, 'dist/cli/cvm.js')} sim --credentials "$CVM_STATE/device.csv" --host "$CVM_HOST" --port "$CVM_PORT" --ca "$CVM_CA" --flow csr --max-packet 256 --timeout 60`;

/** The first case, and one of two: all of them in the full size. */
const someCases = (rest: 0 | 1) =>
  cases.flatMap(({ name }, index) => (full || index === 0 || index % 2 === rest ? name : []));

const mandatory = (sheet: Sheet) =>
  brokenRules(sheet)
    .filter(({ level }) => level === 'mandatory')
    .map(({ rule }) => rule);

const outcomes = ({ results }: Sheet) => Object.fromEntries(results.map(({ name, outcome }) => [name, outcome]));

const fleetDevice = `exec node ${join(root, 'dist/test/certify/fleet-device.js')}`;
const node = copyExample('node');
const awsSdk = copyExample('node-aws-sdk');
const fleetExample = `printf '%s\\n' "$CVM_TOKEN" | exec node ${join(awsSdk?.folder ?? '', 'provision.js')} "$CVM_HOST:$CVM_PORT" "$CVM_CA" "$CVM_SERIAL" "$CVM_TEMPLATE" "$CVM_STATE"`;
const build = buildFolder();

describe.skipIf(lacks('redis-server')).concurrent('cvm certify', { timeout: 300_000 }, () => {
  let certification: Certification;
  beforeAll(async () => {
    certification = await startCertification();
  });
  afterAll(async () => {
    await certification?.close();
    node?.remove();
    awsSdk?.remove();
    build.remove();
  });

  it.skipIf(['openssl', 'jq', 'mosquitto_rr'].some(lacks))('passes examples/shell', async () => {
    const sheet = await certification.sheetOf('shell', example(`sh ${join(root, 'examples/shell/provision.sh')}`), {
      names: someCases(0),
    });
    expect(isConformant(sheet), sheetText(sheet)).toBe(true);
  });

  it.skipIf(python === undefined)('passes examples/python', async () => {
    const sheet = await certification.sheetOf(
      'python',
      example(`${python} ${join(root, 'examples/python/provision.py')}`),
      { names: someCases(1) },
    );
    expect(isConformant(sheet), sheetText(sheet)).toBe(true);
  });

  it.skipIf(node === undefined)('passes examples/node, in MQTT 5', async () => {
    const sheet = await certification.sheetOf('node', example(`node ${join(node?.folder ?? '', 'provision.js')}`), {
      names: someCases(1),
    });
    expect(isConformant(sheet), sheetText(sheet)).toBe(true);
    expect(sheet.profile).toMatchObject({ mqtt: 5 });
  });

  it.skipIf(lacksMbedtls())(
    'passes examples/c, in compact CBOR and packets of 256 bytes, without a clock',
    async () => {
      make(build.path);
      const program = example(join(build.path, 'provision'));
      const sheet = await certification.sheetOf('c', `${program} "$CVM_TIME_KEY"`);
      expect(isConformant(sheet), sheetText(sheet)).toBe(true);
      expect(sheet.profile).toMatchObject({ encoding: 'cbor', inParts: true, maxPacket: 256, asksTime: true });
      expect(outcomes(sheet)).toMatchObject({ 'time-wrong-signature': 'passed', 'time-old-answer': 'passed' });
    },
  );

  it.skipIf(awsSdk === undefined)('passes examples/node-aws-sdk, which speaks Fleet Provisioning', async () => {
    const sheet = await certification.sheetOf('sdk', fleetExample, {
      names: [...someCases(0), ...registrationCases.map(({ name }) => name)],
    });
    expect(isConformant(sheet), sheetText(sheet)).toBe(true);
    expect(sheet.profile).toMatchObject({ dialect: 'fleet-provisioning', mqtt: 5 });
  });

  it('passes a device without a fault, in every case that concerns it', async () => {
    const sheet = await certification.sheetOf('sound', device);
    expect(isConformant(sheet), sheetText(sheet)).toBe(true);
    expect(outcomes(sheet)).toEqual(
      expect.objectContaining(Object.fromEntries(Object.values(faults).map(({ shownIn }) => [shownIn, 'passed']))),
    );
  });

  it('passes a simulated device with packets of 256 bytes when parts come in another order, are lost, or damaged', async () => {
    const names = ['plain', 'parts-out-of-order', 'part-lost', 'part-damaged'];
    const sheet = await certification.sheetOf('small', simulated, { names });
    expect(outcomes(sheet), sheetText(sheet)).toEqual(Object.fromEntries(names.map((name) => [name, 'passed'])));
    expect(sheet.profile).toMatchObject({ inParts: true, maxPacket: 256 });
  });

  it('passes a device that has a pre-shared key and no CA', async () => {
    const names = ['plain', 'cut-before-reply', 'throttled', 'wrong-ca'];
    const sheet = await certification.sheetOf('by-key', device, { names, environment: { DEVICE_PSK: '1' } });
    expect(outcomes(sheet), sheetText(sheet)).toEqual(Object.fromEntries(names.map((name) => [name, 'passed'])));
    expect(sheet.profile).toMatchObject({ token: 'pre-shared key', tls: 'TLSv1.2' });
  });

  it('tells a device with one fault of it by its name, and of nothing else', async () => {
    const told = await Promise.all(
      Object.entries(faults).map(async ([fault, { shownIn }]) => {
        const how = { names: ['plain', shownIn], environment: { DEVICE_FAULTS: fault } };
        const sheet = await certification.sheetOf(fault, device, how);
        return [fault, mandatory(sheet)] as const;
      }),
    );
    expect(Object.fromEntries(told)).toEqual(
      Object.fromEntries(Object.entries(faults).map(([fault, { rule }]) => [fault, [rule]])),
    );
  });

  it('passes a device that speaks Fleet Provisioning with its own key, and tells it of each fault', async () => {
    const names = ['plain', ...new Set(Object.values(fleetFaults).map(({ shownIn }) => shownIn))];
    const sound = await certification.sheetOf('fleet', fleetDevice, { names });
    expect(isConformant(sound), sheetText(sound)).toBe(true);
    expect(sound.profile).toMatchObject({ dialect: 'fleet-provisioning', key: 'CSR' });
    const told = await Promise.all(
      Object.entries(fleetFaults).map(async ([fault, { shownIn }]) => {
        const how = { names: ['plain', shownIn], environment: { DEVICE_FAULTS: fault }, timeoutMs: 40_000 };
        const sheet = await certification.sheetOf(fault, fleetDevice, how);
        return [fault, mandatory(sheet)] as const;
      }),
    );
    expect(Object.fromEntries(told)).toEqual(
      Object.fromEntries(Object.entries(fleetFaults).map(([fault, { rule }]) => [fault, [rule]])),
    );
  });

  it('passes a device that shows a claim certificate, and tells it of each fault', async () => {
    const [refused, same] = [Object.values(claimFaults).map(({ shownIn }) => shownIn), { withClaim: true }];
    const names = ['plain', 'lost-puback', 'cut-in-reply', 'wrong-ca', 'cut-before-registered', ...refused];
    const sound = await certification.sheetOf('claim', fleetDevice, {
      ...{ names, ...same, environment: { DEVICE_CLAIM: '1' } },
    });
    const expected = Object.fromEntries(names.map((name) => [name, 'passed']));
    expect(outcomes(sound), sheetText(sound)).toEqual({ ...expected, 'cut-before-registered': 'skipped' });
    expect(sound.profile).toMatchObject({ dialect: 'fleet-provisioning', token: 'claim certificate' });
    const told = await Promise.all(
      Object.entries(claimFaults).map(async ([fault, { shownIn }]) => {
        const environment = { DEVICE_CLAIM: '1', DEVICE_FAULTS: fault };
        const how = { names: ['plain', shownIn], environment, ...same, timeoutMs: 40_000 };
        return [fault, mandatory(await certification.sheetOf(`claim-${fault}`, fleetDevice, how))] as const;
      }),
    );
    expect(Object.fromEntries(told)).toEqual(
      Object.fromEntries(Object.entries(claimFaults).map(([fault, { rule }]) => [fault, [rule]])),
    );
  });

  it('advises a device that knows no RSA, and has nothing to say to one that does', async () => {
    const names = ['plain', rsaFault.rule];
    const sheets = ['', rsaFault.name].map((planted, index) =>
      certification.sheetOf(`rsa-${index}`, fleetDevice, { names, environment: { DEVICE_FAULTS: planted } }),
    );
    const [sound, faulty] = (await Promise.all(sheets)) as [Sheet, Sheet];
    expect(outcomes(sound), sheetText(sound)).toEqual({ plain: 'passed', [rsaFault.rule]: 'passed' });
    expect(outcomes(faulty), sheetText(faulty)).toEqual({ plain: 'passed', [rsaFault.rule]: 'advice' });
    expect(brokenRules(faulty).map(({ rule }) => rule)).toEqual([rsaFault.rule]);
  });

  it('tells a device that believes a time with a wrong signature', async () => {
    const names = ['plain', 'time-wrong-signature', 'expired-certificate'];
    const fault = 'believes-any-time';
    const sheets = ['', fault].map((planted, index) =>
      certification.sheetOf(`time-${index}`, device, {
        names,
        environment: { DEVICE_TIME: '1', DEVICE_FAULTS: planted },
      }),
    );
    const [sound, faulty] = await Promise.all(sheets);
    // its clock is right: it asks for the time, and checks the dates all the same
    expect(mandatory(sound as Sheet)).toEqual([]);
    expect(mandatory(faulty as Sheet)).toEqual([timeFaults[fault].rule]);
  });

  it('tells a device with ten faults of each of them by its name', async () => {
    const names = ['plain', ...Object.values(faults).map(({ shownIn }) => shownIn)];
    const environment = { DEVICE_FAULTS: Object.keys(faults).join(',') };
    const sheet = await certification.sheetOf('ten-faults', device, { names, environment, timeoutMs: 40_000 });
    const expected = Object.values(faults).map(({ rule }) => rule);
    expect(mandatory(sheet), sheetText(sheet)).toEqual(expect.arrayContaining(expected));
    expect(isConformant(sheet)).toBe(false);
  });
});

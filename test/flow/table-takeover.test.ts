import {
  type AttributeValue,
  CreateTableCommand,
  PutItemCommand,
  ScanCommand,
  waitUntilTableExists,
} from '@aws-sdk/client-dynamodb';
import { CreateKeysAndCertificateCommand } from '@aws-sdk/client-iot';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { devicesCommand } from '../../cli/devices.ts';
import { UsageError } from '../../cli/usage-error.ts';
import { hashToken, makeToken } from '../../protocol/token.ts';
import { certificateStatus, makeCertificate } from '../support/aws-certificates.ts';
import { askOnce } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

type Item = Record<string, AttributeValue>;
type Report = {
  rows: number;
  takenOver: number;
  existing: number;
  existingWithOtherToken: string[];
  refused: { serial: string; reason: string }[];
  notes: Record<string, string[]>;
};

describe.skipIf(lacks('redis-server'))('cvm devices import --from-table', () => {
  let gateway: Gateway;
  let complaints: string[];
  let printed: string[];
  beforeAll(async () => {
    gateway = await startGateway({ tokenAttempts: { pauseSeconds: 0, perSerial: 50, wrongPerAddress: 1000 } });
  });
  beforeEach(() => {
    [complaints, printed] = [[], []];
    process.exitCode = undefined;
    vi.spyOn(console, 'error').mockImplementation((line: string) => void complaints.push(line));
  });
  afterAll(async () => {
    vi.restoreAllMocks();
    process.exitCode = undefined;
    await gateway?.close();
  });

  const tokens: string[] = [];
  const newToken = () => {
    const token = makeToken();
    tokens.push(token);
    return token;
  };
  let count = 0;
  const newSerial = () => `SAMPLE:${++count}`;

  async function tableWith(key: string, items: readonly Item[]): Promise<string> {
    const name = `source-${++count}`;
    await gateway.dynamo.send(
      new CreateTableCommand({
        TableName: name,
        BillingMode: 'PAY_PER_REQUEST',
        KeySchema: [{ AttributeName: key, KeyType: 'HASH' }],
        AttributeDefinitions: [{ AttributeName: key, AttributeType: 'S' }],
      }),
    );
    await waitUntilTableExists({ client: gateway.dynamo, maxWaitTime: 45, minDelay: 1 }, { TableName: name });
    for (const Item of items) await gateway.dynamo.send(new PutItemCommand({ TableName: name, Item }));
    return name;
  }
  /** The rows of a table, by their keys. */
  async function contentOf(name: string): Promise<Record<string, Item>> {
    const { Items = [] } = await gateway.dynamo.send(new ScanCommand({ TableName: name, ConsistentRead: true }));
    return Object.fromEntries(Items.map((item) => [(item.productId ?? item.serialNumber)?.S ?? '', item]));
  }
  /** A certificate in AWS IoT Core, attached to this thing. */
  const vended = (thingName: string, setAsActive = true) => makeCertificate(gateway.iot, thingName, setAsActive);
  const status = (certificateId: string) => certificateStatus(gateway.iot, certificateId);
  const gone = 'ResourceNotFoundException';
  const find = (serial: string) => gateway.registry.find(serial);
  const ask = (serial: string, token: string) => askOnce(gateway.broker, serial, { token, key: 'ec' });

  async function devices(...argv: string[]): Promise<string[]> {
    const lines: string[] = [];
    const context = {
      operator: async () => gateway.operator,
      takeover: async (...from: Parameters<typeof gateway.takeover>) => gateway.takeover(...from),
    };
    const command = devicesCommand({ ...context, write: (line) => lines.push(line) });
    await command.parseAsync(argv, { from: 'user' });
    printed.push(...lines);
    return lines;
  }
  async function takeOver(from: string, ...options: string[]): Promise<Report> {
    const [line = '{}'] = await devices('import', '--from-table', from, '--rate', '1000', '--json', ...options);
    return JSON.parse(line) as Report;
  }
  const expectNoToken = () => {
    const text = [...printed, ...complaints, gateway.logText()].join('\n');
    for (const token of tokens) expect(text).not.toContain(token);
  };
  const sample = (serialNumber: string, deviceToken: string, certinfo?: string): Item => ({
    serialNumber: { S: serialNumber },
    deviceToken: { S: deviceToken },
    ...(certinfo === undefined ? {} : { certinfo: { S: certinfo } }),
  });
  const five = (productId: string, accessToken: string, applyState: number, certID?: string): Item => ({
    productId: { S: productId },
    accessToken: { S: accessToken },
    timestamp: { N: String(Date.now() - 3_600_000) },
    applyState: { N: String(applyState) },
    ...(certID === undefined ? {} : { certID: { S: certID } }),
  });

  it('takes over a table for a site, also its own rows in place; a row that names a site keeps it', async () => {
    const [one, other] = [newSerial(), newSerial()];
    const from = await tableWith('productId', [
      five(one, newToken(), 0),
      { ...five(other, newToken(), 0), site: { S: 'south' } },
    ]);
    expect(await takeOver(from, '--site', 'north')).toMatchObject({ takenOver: 2 });
    expect(await find(one)).toMatchObject({ site: 'north' });
    expect(await find(other)).toMatchObject({ site: 'south' });
    const clear = newSerial();
    await gateway.dynamo.send(new PutItemCommand({ TableName: 'cvm-devices', Item: five(clear, newToken(), 0) }));
    expect(await takeOver('cvm-devices', '--site', 'north')).toMatchObject({ takenOver: 1 });
    expect(await find(clear)).toMatchObject({ site: 'north' });
    expect((await find(clear))?.tokenForm).toBeUndefined();
  });

  it("takes over a table of AWS's sample: tokens hashed, certificates kept as AWS has them, each row that cannot be kept reported, and no token printed", async () => {
    const [fresh, served, inactive, missing, foreign, weak, spent, loose] = Array.from({ length: 8 }, newSerial) as [
      string,
      string,
      string,
      string,
      string,
      string,
      string,
      string,
    ];
    const [freshToken, servedToken] = [newToken(), newToken()];
    const [ofServed, ofInactive, ofOther, ofSpent] = [
      await vended(served),
      await vended(inactive, false),
      await vended('another-thing'),
      await vended(spent),
    ];
    const ofLoose = await gateway.iot.send(new CreateKeysAndCertificateCommand({ setAsActive: true }));
    const absent = `arn:aws:iot:eu-west-1:123456789012:cert/${'ab'.repeat(32)}`;
    const from = await tableWith('serialNumber', [
      sample(fresh, freshToken),
      sample(served, servedToken, ofServed.arn),
      sample(inactive, newToken(), ofInactive.arn),
      sample(missing, newToken(), absent),
      sample(foreign, newToken(), ofOther.arn),
      sample(weak, 'secret123'),
      sample(spent, 'secret123', ofSpent.arn),
      sample(loose, newToken(), ofLoose.certificateArn),
      sample('no serial', newToken()),
      { serialNumber: { S: 'SAMPLE:number' }, deviceToken: { N: '123456' } },
    ]);
    const before = [await contentOf(from), await contentOf('cvm-devices')];

    const planned = await takeOver(from, '--dry-run', '--format', 'awslabs');
    expect([await contentOf(from), await contentOf('cvm-devices')]).toEqual(before);
    expect(await find(fresh)).toBeUndefined();
    const report = await takeOver(from);
    expect({ ...report, dryRun: true, refused: sorted(report) }).toEqual({ ...planned, refused: sorted(planned) });
    expect(report).toMatchObject({ rows: 10, takenOver: 5, existing: 0 });
    expect(Object.fromEntries(report.refused.map(({ serial, reason }) => [serial, reason]))).toEqual({
      [missing]: expect.stringMatching(/abab is not in AWS IoT Core here \(its ARN names eu-west-1\)/),
      [foreign]: expect.stringMatching(`${ofOther.id} is also, or only, that of another-thing`),
      [weak]: expect.stringMatching(/9 characters.*--weak-tokens/),
      'no serial': expect.stringContaining('a serial has 1 to 128'),
      'SAMPLE:number': expect.stringContaining('has no token'),
    });
    expect(report.notes).toEqual({
      'certificate-not-active': [inactive],
      'weak-token-spent': [spent],
      'certificate-not-attached': [loose],
    });
    expect(process.exitCode).toBe(1);
    expect(await contentOf(from)).toEqual(before[0]);
    expectNoToken();
    expect(printed.join()).not.toContain('secret123');

    expect(await find(served)).toMatchObject({
      state: 'registered',
      tokenHash: hashToken(servedToken),
      certificateId: ofServed.id,
    });
    expect(Object.keys((await find(fresh))?.sealedKeys ?? {})).toHaveLength(1);
    expect(await ask(fresh, freshToken)).toMatchObject({ status: 'accepted', thingName: fresh });
    expect(await ask(served, servedToken)).toMatchObject({ errorCode: 'AlreadyProvisioned' });
    expect(await ask(spent, 'secret123')).toMatchObject({ errorCode: 'AlreadyProvisioned' });
    expect(await status(ofServed.id)).toBe('ACTIVE');
    const [line = '{}'] = await devices('reissue', served, '--json');
    expect(await ask(served, (JSON.parse(line) as { token: string }).token)).toMatchObject({ status: 'accepted' });
    expect(await status(ofServed.id)).toBe(gone);

    // the reissue gave it another token
    expect(await takeOver(from)).toMatchObject({ takenOver: 0, existing: 5, existingWithOtherToken: [served] });
    process.exitCode = undefined;
    expect(await takeOver(from, '--weak-tokens')).toMatchObject({ takenOver: 1, notes: { 'weak-token': [weak] } });
    expect(await ask(weak, 'secret123')).toMatchObject({ status: 'accepted' });
  });

  it("takes over a table of the reference design's form in the states that its rows have, and serves them as it would have", async () => {
    const rows = {
      enrolled: newSerial(),
      applying: newSerial(),
      again: newSerial(),
      live: newSerial(),
      off: newSerial(),
      clear: newSerial(),
    };
    const tokenOf = Object.fromEntries(Object.values(rows).map((serial) => [serial, newToken()]));
    const [hashOf, token] = [(serial: string) => hashToken(tokenOf[serial] ?? ''), newToken()];
    const [ofAgain, ofLive, ofOff] = [await vended(rows.again), await vended(rows.live), await vended(rows.off)];
    const from = await tableWith('productId', [
      five(rows.enrolled, hashOf(rows.enrolled), 0),
      five(rows.applying, hashOf(rows.applying), 1),
      five(rows.again, hashOf(rows.again), 0, ofAgain.arn),
      five(rows.live, hashOf(rows.live), -1, ofLive.id),
      five(rows.off, hashOf(rows.off), -2, ofOff.arn),
      five(rows.clear, tokenOf[rows.clear] ?? '', 0),
      five('SAMPLE:state', hashToken(token), 5),
      { ...five('SAMPLE:busy', hashToken(newToken()), 0), previousCertId: { S: ofLive.id } },
      { productId: { S: '#sweep' } },
    ]);
    const options = ['--policy', 'cvm-device', '--expires', '1h', '--format', 'cvm'];
    expect(await takeOver(from, ...options)).toMatchObject({ rows: 8, takenOver: 6, notes: {} });
    expect(complaints.map((each) => JSON.parse(each))).toMatchObject([
      { serial: 'SAMPLE:state', error: expect.stringMatching(/its applyState is none of/) },
      { serial: 'SAMPLE:busy', error: expect.stringMatching(/the gateway of that table has not finished with it/) },
    ]);
    expect(await find(rows.enrolled)).toMatchObject({ policyName: 'cvm-device', tokenExpiresAt: expect.any(Number) });

    const askOwn = (serial: string) => ask(serial, tokenOf[serial] ?? '');
    for (const serial of [rows.enrolled, rows.applying, rows.again, rows.clear])
      expect(await askOwn(serial)).toMatchObject({ status: 'accepted', thingName: serial });
    // it worked until the new one did
    expect(await status(ofAgain.id)).toBe(gone);
    // its replay window is not over, and no reply is kept: it has lost its certificate and gets another
    expect(await askOwn(rows.live)).toMatchObject({ status: 'accepted' });
    expect(await status(ofLive.id)).toBe(gone);
    expect(await askOwn(rows.off)).toMatchObject({ errorCode: 'Forbidden' });
    await devices('block', rows.off);
    expect(await status(ofOff.id)).toBe('INACTIVE');
    await devices('unblock', rows.off);
    expect(await status(ofOff.id)).toBe('ACTIVE');
    expect(await find(rows.off)).toMatchObject({ state: 'registered', certificateId: ofOff.id });
    expectNoToken();
  });

  it('hashes the tokens of its own table in place, and the devices are served', async () => {
    const [token, ofUpper, other, serial, upper, weak, live] = [
      newToken(),
      newToken(),
      newToken(),
      newSerial(),
      newSerial(),
      newSerial(),
      newSerial(),
    ];
    const { id, arn } = await vended(live);
    const items = [
      five(serial, token, 0),
      five(
        upper,
        hashToken(ofUpper).replace(/[a-f]/g, (digit) => digit.toUpperCase()),
        0,
      ),
      five(weak, 'password', 0),
      five(live, other, -1, arn),
    ];
    for (const Item of items) await gateway.dynamo.send(new PutItemCommand({ TableName: 'cvm-devices', Item }));
    expect(await takeOver('cvm-devices', '--dry-run')).toMatchObject({ takenOver: 3 });
    expect((await contentOf('cvm-devices'))[serial]).toMatchObject({ accessToken: { S: token } });
    const report = await takeOver('cvm-devices');
    expect(report).toMatchObject({ takenOver: 3, refused: [{ serial: weak }] });
    expect(report.existing).toBeGreaterThan(0);
    const content = await contentOf('cvm-devices');
    const own = { [serial]: token, [upper]: ofUpper };
    for (const [each, its] of Object.entries(own))
      expect(content[each]).toMatchObject({ accessToken: { S: hashToken(its) } });
    expect(content[live]).toMatchObject({ accessToken: { S: hashToken(other) }, certID: { S: id } });
    expect(content[weak]).toMatchObject({ accessToken: { S: 'password' } });
    expect(JSON.stringify(content)).not.toContain(token);
    for (const [each, its] of Object.entries(own)) expect(await ask(each, its)).toMatchObject({ status: 'accepted' });
    expect(await takeOver('cvm-devices', '--weak-tokens')).toMatchObject({ takenOver: 1, refused: [] });
    expect(await takeOver('cvm-devices')).toMatchObject({ takenOver: 0, refused: [] });
    expect(await status(id)).toBe('ACTIVE');
    expectNoToken();
  });

  it('lets one token vend for one device: another row with it is refused, in a second run as well, or its token is spent', async () => {
    const [first, second, third, served] = [newSerial(), newSerial(), newSerial(), newSerial()];
    const [clear, hashed] = [newToken(), `sha256:${'5a'.repeat(32)}`];
    const { id } = await vended(served);
    const from = await tableWith('productId', [
      five(first, clear, 0),
      five(second, hashToken(clear), 0),
      five(third, hashed, 0),
      five(served, hashed, -1, id),
    ]);
    const shared = expect.stringMatching(/^the token is also that of .*--weak-tokens takes it over all the same/);
    const report = await takeOver(from);
    expect(report.refused.map(({ reason }) => reason)).toEqual(report.refused.map(() => shared));
    const taken = await Promise.all([first, second].map(find));
    expect(taken.filter((device) => device !== undefined)).toHaveLength(1);
    // a device that has its certificate is taken over in any case
    expect(await find(served)).toMatchObject({ state: 'registered', certificateId: id });
    expect((await takeOver(from)).refused).toEqual(report.refused);
    const all = await takeOver(from, '--weak-tokens');
    expect([all.refused, await find(first), await find(second)]).toMatchObject([[], { state: 'enrolled' }, {}]);
    process.exitCode = undefined;
  });

  it('reads a table of many pages, waits while AWS throttles, and goes on where an earlier run ended', async () => {
    const serials = Array.from({ length: 230 }, newSerial);
    const from = await tableWith(
      'serialNumber',
      serials.map((serial) => sample(serial, newToken())),
    );
    const throttle = (operation: string) => ({ operation, kind: 'throttle', times: 4 });
    gateway.aws.faults.set([{ operation: 'DynamoDB.PutItem', kind: 'fail-before', times: 200 }]);
    await expect(takeOver(from)).rejects.toThrow(/Run the command again: it leaves what was taken over as it is/);
    gateway.aws.faults.set(['DynamoDB.Scan', 'DynamoDB.PutItem'].map(throttle));
    const { rows, takenOver, existing } = await takeOver(from);
    expect([rows, takenOver + existing]).toEqual([230, 230]);
    gateway.aws.faults.set([]);
    for (const serial of serials) expect(await find(serial)).toMatchObject({ state: 'enrolled' });
  });

  it('names the cure where the table is not there, and refuses options that mean nothing together', async () => {
    await expect(takeOver('no-such-table')).rejects.toThrow(
      /no table "no-such-table" in .*: correct --from-table or AWS_REGION/,
    );
    for (const argv of [
      ['import'],
      ['import', 'file.csv', '--from-table', 'one'],
      ['import', '--from-table', 'one', '--out', 'two'],
      ['import', 'file.csv', '--weak-tokens'],
    ])
      await expect(devices(...argv)).rejects.toBeInstanceOf(UsageError);
  });
});

const sorted = ({ refused }: Report) => [...refused].sort((one, other) => one.serial.localeCompare(other.serial));

import { type AttributeValue, GetItemCommand, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { devicesCommand } from '../../cli/devices.ts';
import { sweepCommand } from '../../cli/sweep.ts';
import { ackTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { hashToken, makeToken } from '../../protocol/token.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { certificateStatus, makeCertificate } from '../support/aws-certificates.ts';
import { askOnce, connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

const table = 'cvm-devices';

describe.skipIf(lacks('redis-server'))("a row that another tool wrote, with the reference design's five fields", () => {
  let gateway: Gateway;
  let complaints: string[];
  beforeAll(async () => {
    gateway = await startGateway({ tokenAttempts: { pauseSeconds: 0, perSerial: 50, wrongPerAddress: 1000 } });
  });
  beforeEach(() => {
    complaints = [];
    process.exitCode = undefined;
    vi.spyOn(console, 'error').mockImplementation((line: string) => void complaints.push(line));
  });
  afterAll(async () => {
    vi.restoreAllMocks();
    process.exitCode = undefined;
    await gateway?.close();
  });

  let count = 0;
  type Fields = { readonly [attribute: string]: AttributeValue };
  /** Without `certID` where it is undefined. @param fields in place of the usual ones */
  async function row(applyState: 0 | 1 | -1 | -2, certID?: string, fields: Fields = {}) {
    const [serial, token] = [`AA:BB:${++count}`, makeToken()];
    const item: Fields = {
      productId: { S: serial },
      accessToken: { S: hashToken(token) },
      timestamp: { N: String(Date.now() - 60_000) },
      applyState: { N: String(applyState) },
      ...(certID === undefined ? {} : { certID: { S: certID } }),
      ...fields,
    };
    await gateway.dynamo.send(new PutItemCommand({ TableName: table, Item: item }));
    return { serial, token };
  }
  /** An ACTIVE certificate in AWS IoT Core, attached to the thing of the device that gets the next row. */
  const vended = () => makeCertificate(gateway.iot, `AA:BB:${count + 1}`);
  const status = (certificateId: string) => certificateStatus(gateway.iot, certificateId);
  const gone = 'ResourceNotFoundException';
  const stored = async (serial: string) =>
    (await gateway.dynamo.send(new GetItemCommand({ TableName: table, Key: { productId: { S: serial } } }))).Item ?? {};

  async function devices(...argv: string[]): Promise<string[]> {
    const lines: string[] = [];
    await devicesCommand({
      operator: async () => gateway.operator,
      takeover: async (...from) => gateway.takeover(...from),
      write: (line) => lines.push(line),
    }).parseAsync(argv, {
      from: 'user',
    });
    return lines;
  }
  async function sweep(...argv: string[]): Promise<string[]> {
    const lines: string[] = [];
    const command = sweepCommand({
      settings: async () => loadSettings({}),
      audit: async () => gateway.audit,
      table: async () => gateway.asOperator,
      issuer: async () => gateway.issuer,
      write: (line) => lines.push(line),
      clock: async () => () => Date.now() + 3_600_000,
    });
    await command.parseAsync(argv, { from: 'user' });
    return lines;
  }
  const sweepOf = async (serial: string, ...argv: string[]) =>
    (await sweep(...argv)).filter((line) => line.includes(`  ${serial}  `));
  const ask = (serial: string, token: string, more: object = {}) =>
    askOnce(gateway.broker, serial, { token, key: 'ec', ...more });
  async function askAndAcknowledge(serial: string, token: string) {
    const device = await connectDevice(gateway.broker);
    await device.client.publishAsync(requestTopic(serial), JSON.stringify({ token, key: 'ec' }), { qos: 1 });
    const { certificateId } = await device.next();
    await device.client.publishAsync(ackTopic(serial), JSON.stringify({ certificateId }), { qos: 1 });
    await device.client.endAsync();
    return { certificateId };
  }
  const [absent, nonsense] = ['ab'.repeat(32), 'not yet'];

  /** What the row may say of its certificate, made anew for each test. `known`: its id, where AWS IoT Core has it. */
  const certificates: Record<string, () => Promise<{ certID?: string; known?: string }>> = {
    'no certificate': async () => ({}),
    'an empty one': async () => ({ certID: '' }),
    'the id of one': async () => vended().then(({ id }) => ({ certID: id, known: id })),
    'the ARN of one': async () => vended().then(({ id, arn }) => ({ certID: arn, known: id })),
    'the id of one that is gone': async () => ({ certID: absent }),
    'a text that is no id': async () => ({ certID: nonsense }),
  };
  const names = Object.keys(certificates);
  const state = (name: string) => (certificates[name] as (typeof certificates)['an empty one'])();
  const each = ([0, 1, -1] as const).flatMap((applyState) => names.map((name) => [applyState, name] as const));

  it.each(each)(
    'applyState %i and %s: is vended one certificate, which it gets again until it acknowledges',
    async (applyState, name) => {
      const { certID, known } = await state(name);
      const { serial, token } = await row(applyState, certID);
      const first = await ask(serial, token);
      expect(first).toMatchObject({ status: 'accepted', thingName: serial });
      expect(await status(first.certificateId ?? '')).toBe('ACTIVE');
      if (known !== undefined) expect(await status(known)).toBe(gone);
      expect(await ask(serial, token)).toMatchObject({
        certificateId: first.certificateId,
        privateKey: first.privateKey,
      });
      expect(await stored(serial)).toMatchObject({ applyState: { N: '-1' }, certID: { S: first.certificateId } });
      expect(await askAndAcknowledge(serial, token)).toMatchObject({ certificateId: first.certificateId });
      await expect.poll(async () => (await ask(serial, token)).errorCode).toBe('AlreadyProvisioned');
    },
  );

  it.each(each)(
    'applyState %i and %s: is shown, listed, blocked, unblocked, reissued and removed',
    async (applyState, name) => {
      const { certID, known } = await state(name);
      const { serial } = await row(applyState, certID);
      expect(JSON.parse((await devices('show', serial, '--json')).join())).toMatchObject({ serial, applyState });
      expect((await devices('list')).join('\n')).toContain(serial);
      expect(await devices('block', serial)).toEqual([`${serial} blocked`]);
      if (known !== undefined) expect(await status(known)).toBe('INACTIVE');
      await devices('unblock', serial);
      const lost = applyState === -1 && certID !== undefined && certID !== '' && known === undefined;
      expect(complaints.join()).toMatch(
        lost ? new RegExp(`${certID} is gone in AWS.*devices reissue ${serial}`) : /^$/,
      );
      if (known !== undefined && applyState === -1) expect(await status(known)).toBe('ACTIVE');
      const [line = '{}'] = await devices('reissue', serial, '--json');
      const { token } = JSON.parse(line) as { token: string };
      if (known !== undefined) expect(await status(known)).toBe(applyState === -1 ? 'ACTIVE' : gone);
      const next = await ask(serial, token);
      expect(next).toMatchObject({ status: 'accepted' });
      if (known !== undefined) expect(await status(known)).toBe(gone);
      expect(await devices('remove', serial)).toEqual([`${serial} removed`]);
      expect(await status(next.certificateId ?? '')).toBe(gone);
      expect((await devices('list')).join('\n')).not.toContain(serial);
    },
  );

  it.each(names)('applyState -2 and %s: is refused, and can be blocked, unblocked and removed', async (name) => {
    const { certID, known } = await state(name);
    const { serial, token } = await row(-2, certID);
    expect(await ask(serial, token)).toMatchObject({ errorCode: 'Forbidden' });
    expect(await devices('block', serial)).toEqual([`${serial} blocked`]);
    if (known !== undefined) expect(await status(known)).toBe('INACTIVE');
    await devices('unblock', serial);
    // with a certificate it had been registered, and is again
    expect(await gateway.registry.find(serial)).toMatchObject({ state: certID ? 'registered' : 'enrolled' });
    if (known !== undefined) expect(await status(known)).toBe('ACTIVE');
    expect(await devices('remove', serial)).toEqual([`${serial} removed`]);
    if (known !== undefined) expect(await status(known)).toBe(gone);
  });

  it('is compared by the sweep: a certificate that is gone or INACTIVE is reported, one that works is not; a dry run says the same', async () => {
    const { id, arn } = await vended();
    const works = await row(-1, arn);
    const blocked = await vended();
    const { serial: isBlocked } = await row(-2, blocked.arn);
    const { serial: isMissing } = await row(-1, 'cd'.repeat(32));
    const { serial: isNonsense } = await row(-1, 'none');
    for (const applyState of [0, 1] as const) {
      const { serial } = await row(applyState, absent);
      expect(await sweepOf(serial)).toEqual([]);
    }
    for (const option of [['--dry-run'], []]) {
      expect(await sweepOf(works.serial, ...option)).toEqual([]);
      expect((await sweep(...option)).join('\n')).not.toContain(id);
    }
    expect(await status(id)).toBe('ACTIVE');
    for (const serial of [isMissing, isNonsense])
      expect(await sweepOf(serial, '--dry-run')).toEqual([
        expect.stringMatching(`^certificate-missing .*reissue ${serial}$`),
      ]);
    // the sweeps before have done what the dry run said
    expect(await status(blocked.id)).toBe('INACTIVE');
    expect(await sweepOf(isBlocked)).toEqual([]);
  });

  it('without a timestamp: its replay window is over when it is registered, and it is vended otherwise', async () => {
    const none = { timestamp: { NULL: true } };
    const registered = await row(-1, absent, none);
    expect(await ask(registered.serial, registered.token)).toMatchObject({ errorCode: 'AlreadyProvisioned' });
    const enrolled = await row(0, undefined, none);
    expect(await ask(enrolled.serial, enrolled.token)).toMatchObject({ status: 'accepted' });
  });

  it.each<[string, AttributeValue]>([
    ['is missing', { NULL: true }],
    ['is another number', { N: '7' }],
    ['is text', { S: '0' }],
  ])(
    'whose applyState %s: the device is told to come back, the operator what to do; it can be blocked or removed',
    async (_how, applyState) => {
      const { id } = await vended();
      const { serial, token } = await row(0, id, { applyState });
      expect(await ask(serial, token)).toMatchObject({ errorCode: 'UpstreamUnavailable' });
      expect(await ask(serial, makeToken())).toMatchObject({ errorCode: 'InvalidToken' });
      expect(gateway.logText()).toMatch(
        new RegExp(`"serial":"${serial}".*its applyState is none of the numbers.*remove ${serial}`),
      );
      await devices('show', serial);
      for (const command of ['unblock', 'reissue']) await devices(command, serial);
      expect(complaints).toHaveLength(3);
      for (const complaint of complaints)
        expect(complaint).toMatch(new RegExp(`^cvm: ${serial}: its applyState is none of .*remove ${serial}$`));
      expect(await sweepOf(serial)).toEqual([expect.stringMatching(/^row-faulty .*its applyState is none/)]);
      expect(await status(id)).toBe('ACTIVE');
      expect(await devices('block', serial)).toEqual([`${serial} blocked`]);
      expect(await status(id)).toBe('INACTIVE');
      expect(await devices('remove', serial)).toEqual([`${serial} removed`]);
    },
  );

  it.each<[string, AttributeValue]>([
    ['is missing', { NULL: true }],
    ['is empty', { S: '' }],
    ['is a number', { N: '12345' }],
    ['is no whole hash', { S: 'sha256:abc' }],
  ])(
    'whose accessToken %s: no token fits, which the operator is told; a new token mends it',
    async (_how, accessToken) => {
      const { serial } = await row(0, undefined, { accessToken });
      for (const token of ['12345', 'missing', 'sha256:abc', makeToken()])
        expect(await ask(serial, token)).toMatchObject({ errorCode: 'InvalidToken' });
      await devices('show', serial);
      expect(complaints.join()).toMatch(new RegExp(`its accessToken is missing .*devices reissue ${serial}`));
      const [line = '{}'] = await devices('reissue', serial, '--json');
      expect(await ask(serial, (JSON.parse(line) as { token: string }).token)).toMatchObject({ status: 'accepted' });
    },
  );

  it.each<[string, (token: string) => string]>([
    ['is the token in clear', (token) => token],
    ['has its hash in upper case', (token) => hashToken(token).toUpperCase()],
  ])(
    'whose accessToken %s: its device is told to come back, others learn nothing, and the operator is told the cure',
    async (_how, spell) => {
      const token = makeToken();
      const accessToken = { S: spell(token) };
      const cure = `cvm devices import --from-table ${table}`;
      for (const applyState of [0, 1, -1] as const) {
        const { serial } = await row(applyState, undefined, { accessToken });
        expect(await ask(serial, token)).toMatchObject({ errorCode: 'UpstreamUnavailable', statusCode: 503 });
        for (const other of [makeToken(), accessToken.S].filter((each) => each !== token))
          expect(await ask(serial, other)).toMatchObject({ errorCode: 'InvalidToken' });
        expect(gateway.logText()).toMatch(new RegExp(`"serial":"${serial}".*"fault":"token-not-hashed".*${cure}`));
        const shown = await devices('show', serial);
        expect(complaints.at(-1)).toMatch(new RegExp(`^cvm: ${serial}: .*${cure}$`));
        expect(await sweepOf(serial)).toEqual([expect.stringMatching(`^row-faulty .*${cure}$`)]);
        expect([...shown, ...complaints, gateway.logText()].join()).not.toContain(token);
        expect(await stored(serial)).toMatchObject({ accessToken, applyState: { N: String(applyState) } });
      }
      await devices('list');
      expect(complaints.at(-1)).toMatch(/^cvm: token-not-hashed: \d+ rows, such as that of /);
    },
  );
});

import { DescribeCertificateCommand, DescribeThingCommand, ListThingPrincipalsCommand } from '@aws-sdk/client-iot';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { devicesCommand } from '../../cli/devices.ts';
import { tlsCommand } from '../../cli/tls.ts';
import { noAudit } from '../../runtime/audit.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { sweep } from '../../worker/sweep.ts';
import { askOnce, askUntilDecided } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { noTakeover } from '../support/operator.ts';
import { newGateway } from '../support/trust.ts';

describe.skipIf(lacks('redis-server'))('the operator', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway({ tokenAttempts: { pauseSeconds: 0 } });
    vi.spyOn(console, 'error').mockImplementation(() => {});
  });
  afterAll(async () => {
    vi.restoreAllMocks();
    process.exitCode = undefined;
    await gateway?.close();
  });

  /** `cvm devices …`; resolves with what it printed. */
  async function devices(...argv: string[]): Promise<string[]> {
    const lines: string[] = [];
    // no gateway's key is known, and no gateway is told
    const operator = { ...gateway.operator, gateways: async () => [], announce: async () => {}, audit: noAudit };
    const command = devicesCommand({
      takeover: noTakeover,
      operator: async () => operator,
      write: (line) => lines.push(line),
    });
    await command.parseAsync(argv, { from: 'user' });
    return lines;
  }
  async function enrol(serial: string): Promise<string> {
    const [line = ''] = await devices('add', serial, '--json');
    return (JSON.parse(line) as { token: string }).token;
  }
  const status = async (certificateId = '') =>
    (await gateway.iot.send(new DescribeCertificateCommand({ certificateId }))).certificateDescription?.status;

  it('blocks a device: its certificate is INACTIVE at once, and its token is refused; unblocking undoes both; both are safe to repeat', async () => {
    const token = await enrol('op-block');
    const { certificateId } = await askOnce(gateway.broker, 'op-block', { token, key: 'ec' });
    for (const _twice of [1, 2]) await devices('block', 'op-block');
    expect(await status(certificateId)).toBe('INACTIVE');
    await gateway.queueIsEmpty();
    expect(await askOnce(gateway.broker, 'op-block', { token })).toMatchObject({ errorCode: 'Forbidden' });
    for (const _twice of [1, 2]) await devices('unblock', 'op-block');
    expect(await status(certificateId)).toBe('ACTIVE');
    await gateway.queueIsEmpty();
    expect(await askOnce(gateway.broker, 'op-block', { token })).toMatchObject({ certificateId });
  });

  it('reissues: the old certificate works until the new one is vended, and is gone afterwards', async () => {
    const token = await enrol('op-reissue');
    const first = await askOnce(gateway.broker, 'op-reissue', { token, key: 'ec' });
    const [line = ''] = await devices('reissue', 'op-reissue', '--json');
    const fresh = (JSON.parse(line) as { token: string }).token;
    expect(await status(first.certificateId)).toBe('ACTIVE');
    await gateway.queueIsEmpty();
    expect(await askOnce(gateway.broker, 'op-reissue', { token })).toMatchObject({ errorCode: 'InvalidToken' });
    const second = await askUntilDecided(gateway.broker, 'op-reissue', { token: fresh, key: 'ec' });
    expect(second).toMatchObject({ status: 'accepted' });
    expect(second.certificateId).not.toBe(first.certificateId);
    await expect(status(first.certificateId)).rejects.toMatchObject({ name: 'ResourceNotFoundException' });
    const { principals } = await gateway.iot.send(new ListThingPrincipalsCommand({ thingName: 'op-reissue' }));
    expect(principals).toEqual([expect.stringContaining(second.certificateId ?? '-')]);
  });

  it('removes a device with its certificate and its thing, or leaves the thing', async () => {
    for (const [serial, ...option] of [['op-thing'], ['op-keep', '--keep-thing']] as const) {
      const token = await enrol(serial);
      expect(await askOnce(gateway.broker, serial, { token, key: 'ec' })).toMatchObject({ status: 'accepted' });
      await devices('remove', serial, ...option);
      expect(await gateway.registry.find(serial)).toBeUndefined();
    }
    await expect(gateway.iot.send(new DescribeThingCommand({ thingName: 'op-thing' }))).rejects.toThrow('op-thing');
    expect(await gateway.iot.send(new DescribeThingCommand({ thingName: 'op-keep' }))).toMatchObject({
      thingName: 'op-keep',
    });
  });

  it('keeps the row of a removed device until a sweep has looked for certificates of lost answers', async () => {
    const token = await enrol('op-lost');
    gateway.aws.faults.set([{ operation: 'CreateKeysAndCertificate', kind: 'act-and-lose-answer', times: 1 }]);
    await askOnce(gateway.broker, 'op-lost', { token, key: 'rsa' });
    expect((await devices('remove', 'op-lost')).join()).toContain('but for its row');
    expect((await devices('show', 'op-lost', '--json')).join()).toContain('"state":"being-removed"');
    await devices('unblock', 'op-lost');
    expect(await gateway.registry.find('op-lost')).toMatchObject({ state: 'blocked', removal: 'with-thing' });
    const hourLater = () => Date.now() + 3_600_000;
    const ownerTag = { organization: 'cvm-gateway', unit: 'cvm-devices' } as const;
    // the worker's sweep, which has the rights of the worker
    const { registry, issuer } = gateway.asWorker;
    const spans = { graceMs: 900_000, replayWindowMs: 86_400_000 };
    await sweep({
      registry,
      issuer,
      ownerTag,
      table: 'cvm-devices',
      ...spans,
      dryRun: false,
      now: hourLater,
      report: () => {},
    });
    expect(await gateway.registry.find('op-lost')).toBeUndefined();
  });

  it('removes a device with its certificate', async () => {
    const token = await enrol('op-remove');
    const { certificateId } = await askOnce(gateway.broker, 'op-remove', { token, key: 'ec' });
    await devices('remove', 'op-remove');
    await expect(status(certificateId)).rejects.toMatchObject({ name: 'ResourceNotFoundException' });
    expect(await gateway.registry.find('op-remove')).toBeUndefined();
    await gateway.queueIsEmpty();
    expect(await askOnce(gateway.broker, 'op-remove', { token })).toMatchObject({ errorCode: 'InvalidToken' });
  });

  it("sees a device's state, and never its token or the token's hash", async () => {
    const token = await enrol('op-show');
    const shown = [...(await devices('show', 'op-show', '--json')), ...(await devices('list', '--json'))].join();
    expect(shown).toContain('"state":"enrolled"');
    expect(shown).not.toContain(token);
    expect(shown).not.toContain('sha256:');
  });

  it('lists gateways, approves one that waits, and forgets one whose key was stolen: devices are enrolled for approved ones only', async () => {
    const { gateways, registry } = gateway;
    const tls = async (...argv: string[]) => {
      const lines: string[] = [];
      const events: unknown[] = [];
      const audit = { ...noAudit, record: (...event: unknown[]) => void events.push(event) };
      const settings = async () => loadSettings({ CVM_DATA_DIR: gateway.dataDir });
      const write = (line: string) => lines.push(line);
      const command = tlsCommand({
        settings,
        table: async () => ({ gateways, registry }),
        audit: async () => audit,
        write,
      });
      await command.parseAsync(argv, { from: 'user' });
      return { lines, events };
    };
    const listed = async () => (await tls('gateways', '--json')).lines.map((line) => JSON.parse(line));
    const sealedTo = async () => {
      const { serial } = await gateway.enrol(`op-gateway-${++count}`);
      return Object.keys((await gateway.registry.find(serial))?.sealedKeys ?? {}).sort();
    };
    let count = 0;
    await expect.poll(listed).toHaveLength(1);
    const [own] = await listed();
    expect(own).toMatchObject({ state: 'approved' });
    const { identity: other } = newGateway();
    await gateways.record([{ gateway: other, at: Date.now() }], Date.now());
    expect(await listed()).toMatchObject([own, { id: other.id, state: 'waiting' }]);
    const { publicKey: table } = await gateway.tableKey();
    expect(await listed()).toMatchObject([{ table }, { table }]);
    expect((await tls('gateways')).lines[1]).toContain(`${other.id}  waiting   seen `);
    expect(await sealedTo()).toEqual([own.id]);

    expect(await tls('approve', other.id, '--json')).toEqual({
      lines: [`{"approved":"${other.id}"}`],
      events: [['gateway-approved', { gateway: other.id, by: 'operator' }]],
    });
    expect((await tls('approve', other.id)).events).toEqual([]);
    expect(await sealedTo()).toEqual([own.id, other.id].sort());
    await expect(tls('approve', 'nobody')).rejects.toMatchObject({
      message: 'no gateway nobody is known',
      cure: expect.stringMatching(/forgotten is listed.*restart of its broker/),
    });

    expect(await tls('forget-gateway', other.id, '--json')).toEqual({
      lines: [`{"forgotten":"${other.id}"}`],
      events: [['gateway-forgotten', { gateway: other.id }]],
    });
    expect(await sealedTo()).toEqual([own.id]);
    await expect(tls('forget-gateway', other.id)).rejects.toThrow(`no gateway ${other.id} is known`);
  });

  it('is told why a command failed, with status 1', async () => {
    process.exitCode = undefined;
    await devices('add', 'bad serial');
    await devices('show', 'op-nobody');
    expect(process.exitCode).toBe(1);
  });
});

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { devicesCommand } from '../../cli/devices.ts';
import type { OperatorDeps } from '../../operator/deps.ts';
import { hashToken } from '../../protocol/token.ts';
import { createMemoryOperator, type MemoryOperator, noTakeover } from '../support/operator.ts';

const away = async () => {
  throw new Error('AWS is away');
};

describe('cvm devices', () => {
  let operator: MemoryOperator;
  let lines: string[];
  let complaints: string[];
  beforeEach(() => {
    operator = createMemoryOperator();
    [lines, complaints] = [[], []];
    vi.spyOn(console, 'error').mockImplementation((line: string) => void complaints.push(line));
    process.exitCode = undefined;
  });
  afterEach(() => {
    vi.restoreAllMocks();
    process.exitCode = undefined;
  });

  async function devices(argv: string[], deps: Partial<OperatorDeps> = {}): Promise<void> {
    const command = devicesCommand({
      takeover: noTakeover,
      operator: () => ({ ...operator.deps, ...deps }),
      write: (line) => lines.push(line),
    });
    await command.parseAsync(argv, { from: 'user' });
  }

  describe('reissue', () => {
    const tokenOf = (serial: string) => operator.row(serial)?.tokenHash;
    const hashShown = () => hashToken((JSON.parse(lines.at(-1) ?? '{}') as { token: string }).token);

    it('prints the token while AWS does not answer', async () => {
      await operator.leaveHalfDone('A');
      const issuer = { ...operator.deps.issuer, withdraw: () => new Promise<void>(() => {}) };
      void devices(['reissue', 'A', '--json'], { issuer });
      await expect.poll(() => lines).toHaveLength(1);
      expect(hashShown()).toBe(tokenOf('A'));
    });

    it('prints the token when AWS fails, says what is not finished with status 1, and may be repeated', async () => {
      const certificateId = await operator.leaveHalfDone('A');
      await operator.register('B');
      const issuer = { ...operator.deps.issuer, withdraw: away };
      await devices(['reissue', 'A', 'B', '--json'], { issuer });
      expect(lines.map((line) => JSON.parse(line).serial)).toEqual(['A', 'B']);
      expect(complaints).toEqual([expect.stringMatching(/^cvm: A .*certificate.*AWS is away.*next sweep deletes it/)]);
      expect(process.exitCode).toBe(1);
      process.exitCode = undefined;
      await devices(['reissue', 'A', '--json']);
      expect(hashShown()).toBe(tokenOf('A'));
      expect(operator.certificate(certificateId)).toBeUndefined();
      expect(process.exitCode).toBeUndefined();
    });

    it('says that the gateways could not be told, with status 0: they notice by themselves', async () => {
      await operator.register('A');
      await devices(['reissue', 'A'], { announce: away });
      expect(lines).toHaveLength(1);
      expect(complaints.join()).toContain('the gateways could not be told (AWS is away)');
      expect(process.exitCode).toBeUndefined();
    });
  });

  it.each([
    ['block', /blocked, but its certificate may still be ACTIVE: AWS is away\. Run the command again/],
    ['unblock', /unblocked, but its certificate may still be INACTIVE: AWS is away\. Run the command again/],
    ['remove', /not removed yet: AWS is away\. Run the command again/],
  ])('%s says what AWS did not do, with status 1, and goes on with the next device', async (command, complaint) => {
    for (const serial of ['A', 'B']) await operator.register(serial);
    const issuer = { ...operator.deps.issuer, activate: away, deactivate: away, withdraw: away };
    await devices([command, 'A', 'B'], { issuer });
    expect(complaints).toEqual(['A', 'B'].map((serial) => expect.stringMatching(`^cvm: ${serial} .*`)));
    for (const line of complaints) expect(line).toMatch(complaint);
    expect(lines).toEqual([]);
    expect(process.exitCode).toBe(1);
  });

  it('unblock names the one cure of a device whose certificate is gone in AWS, with status 1', async () => {
    const certificateId = await operator.register('A');
    operator.aws.cloud.certificates.delete(certificateId);
    await devices(['unblock', 'A']);
    expect([lines, complaints, process.exitCode]).toEqual([
      [],
      [expect.stringMatching(`^cvm: A is unblocked, .*${certificateId} is gone in AWS.*cvm devices reissue A$`)],
      1,
    ]);
  });

  it.each([['block'], ['unblock'], ['remove'], ['reissue'], ['show']])(
    '%s says that a device is not enrolled, with status 1',
    async (command) => {
      await devices([command, 'A']);
      expect(complaints).toEqual(['cvm: "A" is not enrolled; cvm devices list shows the serials']);
      expect(process.exitCode).toBe(1);
    },
  );

  it('add prints the tokens in the order of the serials, and what could not be enrolled', async () => {
    await operator.register('B');
    await devices(['add', 'A', 'B', 'c d', 'E']);
    expect(lines).toEqual(['A  token-1-of-the-operator', expect.stringMatching(/^E {2}token-\d-of-the-operator$/)]);
    expect(complaints).toEqual([
      'cvm: B is enrolled already; nothing was changed. For a new token: cvm devices reissue B',
      expect.stringMatching(/^cvm: "c d": a serial has 1 to 128/),
      expect.stringContaining('No gateway is approved'),
      expect.stringContaining('Write the tokens down'),
    ]);
    expect(process.exitCode).toBe(1);
  });

  it('add says that no approved gateway was seen for a month, not that none is approved', async () => {
    const seenAt = [Date.UTC(2026, 0, 2), Date.UTC(2026, 0, 9)];
    await devices(['add', 'A'], {
      now: () => Date.UTC(2026, 5, 1),
      approvedGateways: async () => seenAt.map((at) => ({ id: String(at), seenAt: at })),
    });
    expect(complaints[0]).toMatch(
      /^No approved gateway was seen .* last one on 2026-01-09; today is 2026-06-01.*set the clock/,
    );
  });

  it('add takes one token with one serial only', async () => {
    const command = devicesCommand({ takeover: noTakeover, operator: () => operator.deps, write: () => {} });
    const add = command.commands.find((each) => each.name() === 'add');
    add?.exitOverride().configureOutput({ writeErr: () => {} });
    const argv = ['add', 'A', 'B', '--token', 'Wq7Zt0vL2xB9nK4mR8cJ5yH1'];
    await expect(command.parseAsync(argv, { from: 'user' })).rejects.toMatchObject({ exitCode: 2 });
    expect(operator.rows.size).toBe(0);
  });

  it('list prints serial, state and certificate in columns', async () => {
    const certificateId = await operator.register('A');
    await operator.loseAnswer('B');
    await devices(['remove', 'B']);
    lines = [];
    await devices(['list']);
    expect(lines.map((line) => line.split(/ +/))).toEqual([
      ['A', 'registered', certificateId],
      ['B', 'being-removed'],
    ]);
  });
});

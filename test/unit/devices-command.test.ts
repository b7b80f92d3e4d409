import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { csvField } from '../../cli/devices/export.ts';
import { devicesCommand } from '../../cli/devices.ts';
import type { Terminal } from '../../cli/table.ts';
import type { OperatorDeps } from '../../operator/deps.ts';
import { hashToken } from '../../protocol/token.ts';
import type { SilentReport } from '../../registry/silent-devices.ts';
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

  async function devices(argv: string[], deps: Partial<OperatorDeps> = {}, terminal?: Terminal): Promise<void> {
    const command = devicesCommand({
      takeover: noTakeover,
      operator: async () => ({ ...operator.deps, ...deps }),
      write: (line) => lines.push(line),
      terminal,
    });
    await command.parseAsync(argv, { from: 'user' });
  }

  it.each([
    ['--site', 'plant-7', '--no-site'],
    ['--no-site', '--site', 'plant-7'],
  ])('move refuses a site beside none, and moves nothing: %s %s %s', async (...argv) => {
    await operator.register('A');
    await expect(devices(['move', 'A', ...argv])).rejects.toThrow('give --site NAME or --no-site, not both');
    expect(operator.row('A')?.site).toBeUndefined();
  });

  describe('list --silent', () => {
    const at = Date.parse('2026-11-28T12:00:00Z');
    const oldest = [
      { serial: 'A', issuedAt: at - 2000, site: 'plant-7' },
      { serial: 'B', issuedAt: at - 1000 },
    ];
    const reading = (report: SilentReport | undefined) => ({ silent: { read: async () => report } });

    it('prints those that are silent for longest first, of one site where it is named, without reading the table', async () => {
      const registry = { ...operator.deps.registry, list: away as never };
      const deps = { ...reading({ at, count: 2, unasked: 0, oldest }), registry };
      await devices(['list', '--silent'], deps);
      expect(lines.map((line) => line.split(/ +/))).toEqual([
        ['A', '2026-11-28T11:59:58.000Z', 'plant-7'],
        ['B', '2026-11-28T11:59:59.000Z'],
      ]);
      lines.length = 0;
      await devices(['list', '--silent', '--site', 'plant-7', '--json'], deps);
      expect(lines).toEqual(['{"serial":"A","site":"plant-7","silentSince":"2026-11-28T11:59:58.000Z"}']);
    });

    it('says what it does not know, and why', async () => {
      await devices(['list', '--silent'], reading({ at, count: 1500, unasked: 3, reason: 'off: turn it on', oldest }));
      expect(complaints.join('\n')).toMatch(
        /the 2 that are silent for longest, of 1500\n.*3 devices more.*\n.*cannot be asked: off: turn it on/,
      );
      await devices(['list', '--silent'], reading(undefined));
      expect(complaints.at(-1)).toMatch(/no sweep has looked/);
    });
  });

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
      expect(complaints).toEqual([
        expect.stringMatching(/^{"serial":"A","error":"A .*certificate.*AWS is away.*next sweep deletes it/),
      ]);
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

  describe('a token that the device has already', () => {
    const token = 'Wq7Zt0vL2xB9nK4mR8cJ5yH1';
    const other = 'k3FqY8uD1sP6wT9zVb2MxC7n';
    let folder: string;
    beforeEach(() => {
      folder = mkdtempSync(join(tmpdir(), 'cvm-given-'));
    });
    afterEach(() => rmSync(folder, { recursive: true, force: true }));
    const fileWith = (content: string) => {
      writeFileSync(join(folder, 'token'), content);
      return join(folder, 'token');
    };

    it.each(['add', 'reissue'])('is taken from a file by %s, and not printed', async (command) => {
      if (command === 'reissue') await operator.register('A');
      await devices([command, 'A', '--token-file', fileWith(`${token}\r\n`)]);
      expect(operator.row('A')?.tokenHash).toBe(hashToken(token));
      expect(lines).toEqual(['A  has the token that was given']);
      expect(complaints.join()).not.toContain('Write the tokens down');
      expect([lines, complaints].join()).not.toContain(token);
    });

    it.each(['add', 'reissue'])('goes with one serial only, and not from two places: %s', async (command) => {
      await expect(devices([command, 'A', 'B', '--token', token])).rejects.toThrow('--token goes with one serial');
      const both = [command, 'A', '--token', token, '--token-file', fileWith(token)];
      await expect(devices(both)).rejects.toThrow('not both');
      await expect(devices([command, 'A', '--token-file', join(folder, 'none')])).rejects.toThrow(
        /none cannot be read: ENOENT.*correct the path/,
      );
      await expect(devices([command, 'A', '--token-file', fileWith('\n')])).rejects.toThrow('has no token');
      await expect(devices([command, 'A', '--token-file', fileWith(`${token}\n${other}\n`)])).rejects.toThrow(
        'has more than one line',
      );
      await expect(devices([command, 'A', '--token-file', fileWith('x'.repeat(5000))])).rejects.toThrow(
        'has more than a token in it',
      );
      expect(operator.rows.size).toBe(0);
    });

    it.each(['add', 'reissue'])('that can be guessed is refused by %s, with the reason', async (command) => {
      if (command === 'reissue') await operator.register('A');
      const before = operator.row('A')?.tokenHash;
      await devices([command, 'A', '--token', '0000000000000000012345']);
      expect(operator.row('A')?.tokenHash).toBe(before);
      expect(complaints).toEqual([expect.stringMatching(/^cvm: "A": the token has too few kinds of characters/)]);
      expect(process.exitCode).toBe(1);
    });

    it('is refused by reissue when it is the one that the device has now', async () => {
      await devices(['add', 'A', '--token', token]);
      await devices(['reissue', 'A', '--token', token]);
      expect(complaints.at(-1)).toMatch(/^cvm: "A": this is the token that the device has now/);
      await devices(['reissue', 'A', '--token', other]);
      expect(operator.row('A')?.tokenHash).toBe(hashToken(other));
    });

    it('shows in the list of processes, as the help of --token says', () => {
      const { commands } = devicesCommand({
        takeover: noTakeover,
        operator: async () => operator.deps,
        write: () => {},
      });
      for (const name of ['add', 'reissue'])
        expect(
          commands
            .find((each) => each.name() === name)
            ?.helpInformation()
            .replace(/\s+/g, ' '),
        ).toContain('can see it (ps)');
    });
  });

  it('move to a site without a gateway says that none vends for the device, as a mistyped name would have it', async () => {
    await operator.register('A');
    await devices(['move', 'A', '--site', 'plnat-7'], { gateways: async () => [] });
    expect(operator.row('A')?.site).toBe('plnat-7');
    expect(complaints.join()).toMatch(/No approved gateway of the site plnat-7 .*no gateway vends .*move them again/);
  });

  it('list says what no device has, and of which table: an empty list could be a mistyped site', async () => {
    await operator.register('A');
    await devices(['list', '--site', 'plnat-7', '--state', 'blocked']);
    expect(lines).toEqual([]);
    expect(complaints[0]).toMatch(/no device of the table \S+ has the site plnat-7 and the state blocked$/);
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

  describe('at a terminal', () => {
    const terminal = { columns: 100, colours: false };

    it('list has a header, is sorted by serial, and ends with the number of devices in each state', async () => {
      const certificateId = await operator.register('B');
      await devices(['add', 'C', 'A']);
      lines = [];
      await devices(['list'], {}, terminal);
      expect(lines[0]).toMatch(/^SERIAL {2}STATE +CERTIFICATE$/);
      expect(lines.slice(1).map((line) => line.split(/ +/))).toEqual([
        ['A', 'enrolled'],
        ['B', 'registered', certificateId],
        ['C', 'enrolled'],
      ]);
      expect(complaints.at(-1)).toBe('3 devices: 2 enrolled, 1 registered');
    });

    it('list --json is the same as for a program', async () => {
      await operator.register('A');
      await devices(['list', '--json'], {}, terminal);
      expect(JSON.parse(lines[0] ?? '')).toMatchObject({ serial: 'A', state: 'registered' });
      expect(complaints).toEqual([]);
    });
  });

  it.each([
    ['serial', ['A', 'B', 'C']],
    ['state', ['A', 'C', 'B']],
  ])('list --sort %s gives a program the rows in this order', async (field, order) => {
    await operator.register('B');
    await devices(['add', 'C', 'A']);
    lines = [];
    await devices(['list', '--sort', field]);
    expect(lines.map((line) => line.split(/ +/)[0])).toEqual(order);
  });

  it('export prints CSV that a spreadsheet opens and cvm devices import reads, without a token', async () => {
    const certificateId = await operator.register('A');
    await devices(['add', 'B:1', '--site', 'plant-7', '--json']);
    const { token } = JSON.parse(lines.at(-1) ?? '{}') as { token: string };
    lines = [];
    await devices(['export']);
    expect(lines[0]).toBe(
      'serial,site,state,certificate_id,enrolled_at,requested_at,issued_at,delivered_at,token_expires_at,policy,thing_type,thing_group,claim_group',
    );
    expect(
      lines
        .slice(1)
        .map((line) => line.split(',').slice(0, 4))
        .sort(),
    ).toEqual([
      ['A', '', 'registered', certificateId],
      ['B:1', 'plant-7', 'enrolled', ''],
    ]);
    expect(lines.join()).not.toContain(token);
  });

  it.each([
    ['=1+1', "'=1+1"],
    ['-7', "'-7"],
    [' =1+1', "' =1+1"],
    ['＝1+1', "'＝1+1"],
    ['a;=1+1', '"a;=1+1"'],
    ['a\t=1+1', '"a\t=1+1"'],
    ['a "quoted", text', '"a ""quoted"", text"'],
    [undefined, ''],
  ])('export writes %j so that no spreadsheet computes it: %j', (text, field) => {
    expect(csvField(text)).toBe(field);
  });
});

import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type ImportOptions, importFile, lookAtFile } from '../../cli/devices/import.ts';
import { hashToken, makeToken } from '../../protocol/token.ts';
import type { Enrolment } from '../../registry/device.ts';
import { createMemoryRegistry } from '../../registry/memory.ts';
import type { Registry } from '../../registry/registry.ts';
import { noAudit } from '../../runtime/audit.ts';
import { UpstreamThrottled } from '../../runtime/upstream.ts';
import { newGateway } from '../support/trust.ts';

const gateway = newGateway().identity;

describe('devices import', () => {
  let folder: string;
  let registry: Registry;
  let complaints: string[];
  let lines: string[];
  let announced: string[][];
  let now: number;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-import-'));
    registry = createMemoryRegistry();
    now = 1000;
    [complaints, lines, announced] = [[], [], []];
    vi.spyOn(console, 'error').mockImplementation((line: string) => void complaints.push(line));
  });
  afterEach(() => {
    vi.restoreAllMocks();
    process.exitCode = undefined;
    rmSync(folder, { recursive: true, force: true });
  });

  const file = (content: string) => {
    const path = join(folder, 'devices.csv');
    writeFileSync(path, content);
    return path;
  };
  const run = (content: string, over: Partial<Registry> = {}, gateways = [gateway], options: ImportOptions = {}) =>
    runAt(file(content), over, gateways, options);
  const runAt = (path: string, over: Partial<Registry>, gateways: (typeof gateway)[], options: ImportOptions) =>
    (options.dryRun ? lookAtFile : importFile)(
      {
        operator: () => ({
          registry: { ...registry, ...over },
          gateways: async () => gateways,
          approvedGateways: async () => [],
          announce: async (serials) => void announced.push([...serials]),
          audit: noAudit,
          now: () => now,
          makeToken,
        }),
        write: (line) => lines.push(line),
      },
      path,
      options,
    );

  const tokens = () =>
    readFileSync(join(folder, 'devices.csv.tokens.csv'), 'utf8')
      .trim()
      .split('\n')
      .slice(1)
      .map((line) => line.split(','));

  it('reads standard input for "-", which has no place for a file of tokens beside it', async () => {
    vi.spyOn(process, 'stdin', 'get').mockReturnValue(Readable.from(['serial\nA\n']) as typeof process.stdin);
    await expect(runAt('-', {}, [gateway], {})).rejects.toThrow(/--out is needed: .*beside standard input/);
    expect(await runAt('-', {}, [gateway], { out: '-' })).toMatchObject({ enrolled: 1 });
    expect(lines).toEqual(['serial,token', expect.stringMatching(/^A,/)]);
  });

  it('enrols with tokens that are given, and makes the others', async () => {
    const given = 'Wq7Zt0vL2xB9nK4mR8cJ5yH1';
    expect(
      await run(`serial,token,policy,thing_type,thing_group,claim_group\nA,${given},p,t,g,c\nB,,,,,\n`),
    ).toMatchObject({
      rows: 2,
      enrolled: 2,
      bad: 0,
      tokensMade: 1,
    });
    expect(await registry.find('A')).toMatchObject({
      tokenHash: hashToken(given),
      policyName: 'p',
      thingTypeName: 't',
      thingGroupName: 'g',
      claimGroup: 'c',
    });
    const [, line = ''] = readFileSync(join(folder, 'devices.csv.tokens.csv'), 'utf8').trim().split('\n');
    const [serial, token = ''] = line.split(',');
    expect(serial).toBe('B');
    expect(await registry.find('B')).toMatchObject({ tokenHash: hashToken(token) });
    expect(statSync(join(folder, 'devices.csv.tokens.csv')).mode & 0o777).toBe(0o600);
  });

  it('takes a bare list of serials', async () => {
    expect(await run('A\nB\r\nC')).toMatchObject({ enrolled: 3 });
  });

  it('reports bad rows with their line numbers, and goes on', async () => {
    await registry.enrol({ serial: 'there', tokenHash: 'x', enrolledAt: 0 });
    expect(await run('serial,token\nA,\nb b,\nC,short\nthere,\nD,,extra\nE,\n')).toMatchObject({
      rows: 6,
      enrolled: 2,
      bad: 4,
    });
    expect(complaints.map((line) => line.split(':')[0])).toEqual(
      expect.arrayContaining(['line 3', 'line 4', 'line 5', 'line 6']),
    );
    expect(complaints).toHaveLength(4);
    expect(complaints.join()).not.toContain('short,');
    expect(process.exitCode).toBe(1);
  });

  it('--dry-run says of each row what the import would, and writes neither to the table nor a file', async () => {
    const content = 'serial,token\nA,\nb b,\nthere,\nA,\nB,\n';
    await registry.enrol({ serial: 'there', tokenHash: 'x', enrolledAt: 0 });
    const enrol = vi.fn(registry.enrol);
    expect(await run(content, { enrol }, undefined, { dryRun: true })).toMatchObject({ rows: 5, enrolled: 2, bad: 3 });
    expect(lines).toEqual([
      '5 rows: 2 would be enrolled, 3 bad. Nothing was written: leave out --dry-run to enrol them',
    ]);
    expect(enrol).not.toHaveBeenCalled();
    expect(readdirSync(folder)).toEqual(['devices.csv']);
    const told = complaints.splice(0);
    expect(await run(content)).toMatchObject({ rows: 5, enrolled: 2, bad: 3 });
    expect(complaints).toEqual(told);
  });

  it('--dry-run tells of an import that was stopped what is enrolled already, from its file of tokens, which it leaves as it is', async () => {
    await run('A\n');
    const path = join(folder, 'devices.csv.tokens.csv');
    writeFileSync(path, `${readFileSync(path, 'utf8')}half a li`);
    const before = readFileSync(path, 'utf8');
    expect(await run('A\nB\n', {}, undefined, { dryRun: true })).toMatchObject({
      enrolled: 1,
      enrolledBefore: 1,
      bad: 0,
    });
    expect(readFileSync(path, 'utf8')).toBe(before);
  });

  it('gives no serial two tokens', async () => {
    expect(await run('serial\nA\nA\n')).toMatchObject({ enrolled: 1, bad: 1, tokensMade: 1 });
  });

  it('writes a token down before its device is enrolled', async () => {
    const seen: boolean[] = [];
    const enrol: Registry['enrol'] = async (enrolment) => {
      seen.push(readFileSync(join(folder, 'devices.csv.tokens.csv'), 'utf8').includes(`${enrolment.serial},`));
      return registry.enrol(enrolment);
    };
    await run('A\nB\nC\n', { enrol });
    expect(seen).toEqual([true, true, true]);
  });

  it('goes on in the file of an import that was stopped', async () => {
    await run('A\n');
    await run('A\nB\n');
    expect(tokens().map(([serial]) => serial)).toEqual(['A', 'B']);
  });

  it('says of devices that an earlier run enrolled with the same token that it did, and counts them as no failure', async () => {
    const content = 'serial,token\nA,\nB,Wq7Zt0vL2xB9nK4mR8cJ5yH1\n';
    await run(content);
    now++;
    expect(await run(content)).toMatchObject({ rows: 2, enrolled: 0, enrolledBefore: 2, bad: 0, tokensMade: 0 });
    expect(lines.slice(2)).toEqual([
      '2 rows: 0 enrolled, 2 enrolled before, 0 bad',
      expect.stringMatching(/^tokens made now: 0; all are in .*devices\.csv\.tokens\.csv and nowhere else$/),
    ]);
    expect([complaints, process.exitCode]).toEqual([[], undefined]);
  });

  it('says of a device that is enrolled with another token that it is enrolled, with status 1', async () => {
    await run('serial,token\nB,Wq7Zt0vL2xB9nK4mR8cJ5yH1\n');
    expect(await run('serial,token\nB,k3FqY8uD1sP6wT9zVb2MxC7n\n')).toMatchObject({ enrolledBefore: 0, bad: 1 });
    expect(complaints.at(-1)).toMatch(/^line 2: B is enrolled already/);
  });

  it('goes on after it was killed at any moment: each device has one token, which is in the file', async () => {
    const content = `serial\n${Array.from({ length: 70 }, (_, index) => `S${index}`).join('\n')}\n`;
    for (let moment = 0; moment < 210; moment += 5) {
      rmSync(join(folder, 'devices.csv.tokens.csv'), { force: true });
      registry = createMemoryRegistry();
      let steps = 0;
      let bury = (_error: Error) => {};
      const killed = new Promise<never>((_resolve, reject) => {
        bury = reject;
      });
      killed.catch(() => {});
      // after its last step, a killed process gets no answer
      const step = () => (++steps > moment ? killed : undefined);
      const over = {
        find: async (serial: string) => (await step()) ?? registry.find(serial),
        enrol: async (enrolment: Enrolment) => {
          await step();
          const added = await registry.enrol(enrolment);
          await step();
          return added;
        },
      };
      const first = run(content, over, []).catch(() => {});
      await expect.poll(() => steps > moment || steps >= 210).toBe(true);
      bury(new Error('killed'));
      await first;
      await run(content, {}, []);
      expect(
        tokens()
          .map(([serial]) => serial)
          .sort(),
      ).toEqual(content.trim().split('\n').slice(1).sort());
      for (const [serial = '', token = ''] of tokens())
        expect(await registry.find(serial)).toMatchObject({ tokenHash: hashToken(token) });
    }
  });

  it('waits for a table that throttles, says so once, and goes on', async () => {
    let tries = 0;
    const enrol: Registry['enrol'] = async (enrolment) => {
      if (++tries <= 3) throw new UpstreamThrottled('dynamodb:PutItem');
      return registry.enrol(enrolment);
    };
    expect(await run('A\nB\n', { enrol })).toMatchObject({ enrolled: 2, bad: 0 });
    expect(complaints).toEqual([expect.stringContaining('DynamoDB throttles the writes of this import')]);
  });

  it('reports lines in their order, however long each takes', async () => {
    const find: Registry['find'] = async (serial) => {
      await new Promise((resolve) => setTimeout(resolve, serial === 'S0' ? 30 : Number(serial.slice(1)) % 5));
      return registry.find(serial);
    };
    for (let index = 0; index < 100; index += 2)
      await registry.enrol({ serial: `S${index}`, tokenHash: 'x', enrolledAt: 0 });
    await run(Array.from({ length: 100 }, (_, index) => `S${index}`).join('\n'), { find });
    const numbers = complaints.map((line) => Number(/^line (\d+)/.exec(line)?.[1])).filter((line) => line > 0);
    expect(numbers).toEqual(Array.from({ length: 50 }, (_, index) => 2 * index + 1));
  });

  it.each([
    ['a serial twice', 'serial\nA\nB\nA\n', 'line 4: the serial stands at line 2 already'],
    [
      'a token twice',
      'serial,token\nA,Wq7Zt0vL2xB9nK4mR8cJ5yH1\nB,\nC,Wq7Zt0vL2xB9nK4mR8cJ5yH1\n',
      'line 4: the token stands at line 2 already; each device needs a token of its own',
    ],
    [
      'a token that counts on',
      `serial,token\nA,Wq7Zt0vL2xB9nK4mR8cJ5yH1\nB,Wq7Zt0vL2xB9nK4mR8cJ5yH2\n`,
      'line 3: the token is much like',
    ],
    ['a weak token', 'serial,token\nA,0000000000000000000001\n', 'line 2: the token has too few kinds of characters'],
    [
      'a token that is the serial',
      'serial,token\nACME-0011-2233-4455-6677,ACME-0011-2233-4455-6677\n',
      'line 2: the token has the serial',
    ],
    ['no serial', 'serial,token\n,Wq7Zt0vL2xB9nK4mR8cJ5yH1\n', 'line 2: there is no serial'],
    ['a rounded serial', 'serial\n8.6E+14\n', 'line 2: a spreadsheet rounded this serial'],
    ['a space in a serial', 'serial\nSN 1\n', 'this one has " " at position 3'],
    ['no policy name', 'serial,policy\nA,my policy; with spaces\n', 'line 2: this is no name of a policy'],
  ])('refuses %s, with the line and the reason', async (_what, content, complaint) => {
    expect(await run(content)).toMatchObject({ bad: 1 });
    expect(complaints.join('\n')).toContain(complaint);
    expect(process.exitCode).toBe(1);
  });

  it('holds a bounded number of rows, of however many', async () => {
    let [under, most] = [0, 0];
    const enrol: Registry['enrol'] = async (enrolment) => {
      most = Math.max(most, ++under);
      await new Promise((resolve) => setImmediate(resolve));
      under--;
      return registry.enrol(enrolment);
    };
    const rows = Array.from({ length: 20_000 }, (_, index) =>
      index % 1000 === 999 ? `bad row ${index},` : `S${index},${makeToken()}`,
    );
    // sealing to a gateway would take most of the time
    expect(await run(`serial,token\n${rows.join('\n')}\n`, { enrol }, [])).toMatchObject({
      rows: 20_000,
      enrolled: 19_980,
      bad: 20,
    });
    expect(complaints).toContainEqual(expect.stringMatching(/^line 1001:/));
    expect(most).toBeLessThanOrEqual(64);
  });

  it('stops at an outage with the line where it was', async () => {
    const enrol: Registry['enrol'] = async ({ serial }) => {
      if (serial === 'B') throw new Error('the table is away');
      return true;
    };
    await expect(run('serial\nA\nB\nC\n', { enrol })).rejects.toThrow(/line 3: the table is away/);
    // the gateways hear of the devices before it
    expect(announced.flat()).toContain('A');
  });

  it('tells the gateways of the devices, 500 at a time', async () => {
    const rows = Array.from({ length: 1100 }, (_, index) => `S${index}`);
    await run(rows.join('\n'), {}, []);
    expect(announced.map((serials) => serials.length)).toEqual([500, 500, 100]);
    expect(new Set(announced.flat())).toEqual(new Set(rows));
  });

  it('prints the tokens on standard output when it is asked to', async () => {
    expect(await run('A\nB\n', {}, [], { out: '-' })).toMatchObject({ enrolled: 2, tokensMade: 2 });
    expect(lines.map((line) => line.split(',')[0])).toEqual(['serial', 'A', 'B']);
    const [, token = ''] = lines[1]?.split(',') ?? [];
    expect(await registry.find('A')).toMatchObject({ tokenHash: hashToken(token) });
  });

  it('gives what the options say to the rows that do not say otherwise', async () => {
    const options = { policy: 'all', thingType: 'meter', expires: 500 };
    await run('serial,policy\nA,\nB,own\n', {}, [], options);
    const settings = { thingTypeName: 'meter', tokenExpiresAt: 1500 };
    expect(await registry.find('A')).toMatchObject({ ...settings, policyName: 'all' });
    expect(await registry.find('B')).toMatchObject({ ...settings, policyName: 'own' });
  });
});

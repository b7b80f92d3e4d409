import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type ImportOptions, importCommand, importFile, lookAtFile } from '../../cli/devices/import.ts';
import { listCures, listFault } from '../../operator/list-faults.ts';
import { hashToken, makeToken } from '../../protocol/token.ts';
import type { Enrolment } from '../../registry/device.ts';
import { createMemoryRegistry } from '../../registry/memory.ts';
import type { Registry } from '../../registry/registry.ts';
import { noAudit } from '../../runtime/audit.ts';
import { UpstreamThrottled } from '../../runtime/upstream.ts';
import { noTakeover } from '../support/operator.ts';
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

  const file = (content: string | Buffer) => {
    const path = join(folder, 'devices.csv');
    writeFileSync(path, content);
    return path;
  };
  const run = (
    content: string | Buffer,
    over: Partial<Registry> = {},
    gateways = [gateway],
    options: ImportOptions = {},
  ) => runAt(file(content), over, gateways, options);
  const runAt = (path: string, over: Partial<Registry>, gateways: (typeof gateway)[], options: ImportOptions) =>
    (options.dryRun ? lookAtFile : importFile)(
      {
        operator: async () => ({
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
    await expect(runAt('-', {}, [gateway], {})).rejects.toThrow(/with --out: none can be made beside standard input/);
    expect(await runAt('-', {}, [gateway], { out: '-' })).toMatchObject({ enrolled: 1 });
    expect(lines).toEqual(['serial,token', expect.stringMatching(/^A,/)]);
  });

  it.each(['/dev/fd/FD', '/proc/self/fd/FD', '/dev/stdin', 'FIFO', 'LINK'])(
    'asks for --out where the list is what is open already, or a pipe, and needs none with --dry-run: %s',
    async (name) => {
      const list = file('serial\nA\n');
      const fd = openSync(list, 'r');
      const [fifo, link] = [join(folder, 'fifo'), join(folder, 'link')];
      execFileSync('mkfifo', [fifo]);
      symlinkSync('/dev/stdin', link);
      const path = name.replace('FD', String(fd)).replace('FIFO', fifo).replace('LINK', link);
      await expect(runAt(path, {}, [gateway], {})).rejects.toThrow(`with --out: none can be made beside ${path}`);
      if (name.includes('FD')) {
        expect(await runAt(path, {}, [gateway], { dryRun: true })).toMatchObject({ enrolled: 1 });
        const again = path.replace(String(fd), String(openSync(list, 'r')));
        expect(await runAt(again, {}, [gateway], { out: '-' })).toMatchObject({ enrolled: 1 });
      }
      expect(readdirSync(folder).sort()).toEqual(['devices.csv', 'fifo', 'link']);
    },
  );

  it.skipIf(!existsSync('/dev/shm'))('takes a file below /dev/shm, and one behind a link, for a file', async () => {
    const place = mkdtempSync('/dev/shm/cvm-import-');
    try {
      writeFileSync(join(place, 'list.csv'), 'serial\nA\n');
      expect(await runAt(join(place, 'list.csv'), {}, [gateway], {})).toMatchObject({ enrolled: 1 });
      expect(readdirSync(place).sort()).toEqual(['list.csv', 'list.csv.tokens.csv']);
      symlinkSync(join(place, 'list.csv'), join(folder, 'link.csv'));
      expect(await runAt(join(folder, 'link.csv'), {}, [gateway], {})).toMatchObject({ bad: 1 });
    } finally {
      rmSync(place, { recursive: true });
    }
  });

  it('says of a path that has no file, or a folder, what it is before it asks AWS', async () => {
    const operator = () => {
      throw new Error('AWS was asked');
    };
    const command = importCommand({ operator, takeover: noTakeover, write: () => {} });
    const parse = (path: string) => command.parseAsync([path], { from: 'user' });
    await expect(parse(join(folder, 'SN-1'))).rejects.toThrow(/^there is no file .*SN-1$/);
    await expect(parse(folder)).rejects.toMatchObject({
      message: `${folder} is a folder`,
      cure: expect.stringContaining('name the file in it'),
    });
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
      'line 4: the token stands at line 2 already; give each device a token of its own',
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
    [
      'a long number whose last digits a spreadsheet lost',
      'serial\n8944500102198300000\n',
      'line 2: the column "serial" has "8944500102198300000", whose digits after the fifteenth are all 0',
    ],
    ['a date of a German spreadsheet', 'serial\n05. Mrz\n', 'took for a date'],
    ['a letter of another encoding', Buffer.from('serial\nP\xfcmp-1\n', 'latin1'), 'save the list as "CSV UTF-8"'],
    ['a space in a serial', 'serial\nSN 1\n', 'this one has " " at position 3'],
    ['no policy name', 'serial,policy\nA,my policy; with spaces\n', 'line 2: this is no name of a policy'],
  ])('refuses %s, with the line and the reason', async (_what, content, complaint) => {
    expect(await run(content)).toMatchObject({ bad: 1 });
    expect(complaints.join('\n')).toContain(complaint);
    expect(process.exitCode).toBe(1);
  });

  it('quotes no token, also where a letter of it is in another encoding', async () => {
    await run(Buffer.from('serial,token\nA,Wq7Zt0vL2xB9nK4mR8c\xe9\n', 'latin1'));
    expect(complaints.join()).toContain('the column "token" has a character that is not in UTF-8');
    expect(complaints.join()).not.toContain('Wq7Zt0vL2xB9');
  });

  it('takes long numbers whose last digits are there, and numbers that no spreadsheet shortens', async () => {
    expect(
      await run('serial\n8944500102198304826\n123456789012345\n1234567890123450\n100000000000000\n'),
    ).toMatchObject({
      bad: 0,
    });
  });

  it.each([
    ['a duplicate serial', 'serial\nA\nA\n', 'serial-twice'],
    ['a duplicate token', 'serial,token\nA,Wq7Zt0vL2xB9nK4mR8cJ5yH1\nB,Wq7Zt0vL2xB9nK4mR8cJ5yH1\n', 'token-twice'],
    ['a bad character', 'serial\nSN/1\n', 'serial-characters'],
    ['a serial that is too long', `serial\n${'S'.repeat(129)}\n`, 'serial-length'],
    ['no serial', 'serial,site\n,north\n', 'no-serial'],
    ['a serial as a date', 'serial\n5-Mar\n', 'serial-date'],
    ['a rounded serial', 'serial\n8.6E+14\n', 'serial-rounded'],
    ['a shortened serial', 'serial\n8944500102198300000\n', 'serial-shortened'],
    ['a token that is too short', 'serial,token\nA,short\n', 'token-short'],
    ['a token that is too weak', 'serial,token\nA,0000000000000000000001\n', 'token-weak'],
    ['a token with a space', 'serial,token\nA,Wq7Zt0vL2xB9 K4mR8cJ5yH1\n', 'token-characters'],
    ['a token that is too long', `serial,token\nA,${'x'.repeat(513)}\n`, 'token-length'],
    ['a wrong site', 'serial,site\nA,plant 1\n', 'site-name'],
    ['a wrong claim group', 'serial,claim_group\nA,a group\n', 'group-name'],
    ['a wrong policy', 'serial,policy\nA,my policy\n', 'aws-name'],
    ['a missing value', 'serial,site\nA,NaN\n', 'placeholder'],
    ['an invisible character', 'serial\nSN\u200b1\n', 'invisible'],
    ['a letter of another encoding', 'serial\nP\ufffdmp\n', 'not-utf8'],
    ['a quote', 'serial,site\nA,a"b\n', 'quotes'],
    ['a column too many', 'serial,site\nA,b,c\n', 'column-count'],
    ['a column without a name', ',serial\n0,A\n', 'column-nameless'],
    ['a list with a second column and no header', 'A\nB,c\n', 'no-header'],
    ['a device that is enrolled', 'serial\nthere\n', 'already-enrolled'],
  ] as const)('--dry-run says of %s what to correct, in the words of the list', async (_what, content, id) => {
    await registry.enrol({ serial: 'there', tokenHash: 'x', enrolledAt: 0 });
    await run(content, {}, undefined, { dryRun: true });
    expect(complaints).toEqual([expect.stringContaining(listFault(id, '', 'there').cure)]);
  });

  it.each([
    ['a column that is not known', 'serial,colour\nA,red\n', 'column-unknown'],
    ['a column twice', 'serial,site,site\nA,b,c\n', 'column-twice'],
    ['no column of serials', 'token,site\nA,b\n', 'no-serial-column'],
    ['no header', 'A,b\n', 'no-header'],
    ['a quote that stays open', 'serial,site\nA,"b\n', 'quote-open'],
    ['no rows', 'serial\n', 'no-rows'],
  ] as const)('reads nothing of a list with %s, and says what to correct', async (_what, content, id) => {
    await expect(run(content, {}, undefined, { dryRun: true })).rejects.toMatchObject({ cure: listCures[id] });
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

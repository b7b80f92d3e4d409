import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type ImportOptions, importFile } from '../../cli/devices/import.ts';
import { hashToken, makeToken } from '../../protocol/token.ts';
import { createMemoryRegistry } from '../../registry/memory.ts';
import type { Registry } from '../../registry/registry.ts';
import { noAudit } from '../../runtime/audit.ts';
import { newGateway } from '../support/trust.ts';

const gateway = newGateway().identity;

describe('devices import', () => {
  let folder: string;
  let registry: Registry;
  let complaints: string[];
  let lines: string[];
  let announced: string[][];
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-import-'));
    registry = createMemoryRegistry();
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
    importFile(
      {
        operator: () => ({
          registry: { ...registry, ...over },
          gateways: async () => gateways,
          approvedGateways: async () => [],
          announce: async (serials) => void announced.push([...serials]),
          audit: noAudit,
          now: () => 1000,
          makeToken,
        }),
        write: (line) => lines.push(line),
      },
      file(content),
      options,
    );

  it('enrols with tokens that are given, and makes the others', async () => {
    const given = 'Wq7Zt0vL2xB9nK4mR8cJ5yH1';
    expect(await run(`serial,token,policy,thing_type,thing_group\nA,${given},p,t,g\nB,,,,\n`)).toMatchObject({
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

  it('does not overwrite tokens of an earlier import', async () => {
    await run('A\n');
    await expect(run('B\n')).rejects.toThrow(/exists already/);
    expect(await registry.find('B')).toBeUndefined();
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

import { createPrivateKey, X509Certificate } from 'node:crypto';
import { cpSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest';
import { beginRotation, cancelRotation, finishRotation } from '../../site-tls/rotation.ts';
import { loadTlsMaterial, renewTlsMaterial } from '../../site-tls/site-ca.ts';

/** Counts the file operations of a process, and ends the process before one of them. */
const files = vi.hoisted(() => {
  let [done, killedAt] = [0, Number.POSITIVE_INFINITY];
  return {
    arm(at: number) {
      [done, killedAt] = [0, at];
    },
    disarm() {
      killedAt = Number.POSITIVE_INFINITY;
      return done;
    },
    mortal:
      <A extends unknown[], T>(operation: (...args: A) => T) =>
      (...args: A): T => {
        if (++done >= killedAt) throw new Error('killed');
        return operation(...args);
      },
  };
});

vi.mock('node:fs', async (original) => {
  const fs = await original<typeof import('node:fs')>();
  // the operations that change the folder
  const { openSync, writeSync, renameSync, rmSync, writeFileSync } = fs;
  const changing = { writeSync, renameSync, rmSync, writeFileSync };
  const mortal: [string, unknown][] = Object.entries(changing).map(([name, operation]) => [
    name,
    files.mortal(operation as () => void),
  ]);
  const creating = files.mortal(openSync);
  mortal.push(['openSync', (...args: Parameters<typeof openSync>) => (args[1] === 'r' ? openSync : creating)(...args)]);
  // a killed process is no power cut: what it wrote stays
  return { ...fs, ...Object.fromEntries(mortal), fsyncSync: () => {} };
});

const root = mkdtempSync(join(tmpdir(), 'cvm-killed-'));
let folders = 0;

const operations = {
  load: loadTlsMaterial,
  renew: renewTlsMaterial,
  begin: beginRotation,
  finish: finishRotation,
  cancel: cancelRotation,
};
type Operation = keyof typeof operations;
const run = (operation: Operation, dataDir: string) =>
  operations[operation]({ dataDir, hostnames: [], machineName: 'box' });

const read = (dataDir: string, name: string) => readFileSync(join(dataDir, 'tls', name), 'utf8');
const caOf = (dataDir: string) => new X509Certificate(read(dataDir, 'site-ca.crt')).fingerprint256;

/** What holds of a folder after a process worked there that was not killed. */
function expectWhole(dataDir: string): void {
  const folder = join(dataDir, 'tls');
  const [ca, server] = ['site-ca.crt', 'server.crt'].map((name) => new X509Certificate(read(dataDir, name)));
  if (ca === undefined || server === undefined) throw new Error('no certificates');
  expect(server.verify(ca.publicKey)).toBe(true);
  expect(server.checkIssued(ca)).toBe(true);
  expect(ca.checkPrivateKey(createPrivateKey(read(dataDir, 'site-ca.key')))).toBe(true);
  expect(server.checkPrivateKey(createPrivateKey(read(dataDir, 'server.key')))).toBe(true);
  const names = readdirSync(folder).filter((name) => !name.startsWith('lock.'));
  expect(names.filter((name) => !/^(site-ca|server|next-ca)\.(crt|key)$/.test(name))).toEqual([]);
  expect(names.includes('next-ca.key')).toBe(names.includes('next-ca.crt'));
  expect(read(dataDir, 'site-ca.crt').match(/BEGIN/g)).toHaveLength(names.includes('next-ca.crt') ? 2 : 1);
  for (const name of names.filter((file) => file.endsWith('.key')))
    expect(statSync(join(folder, name)).mode & 0o777).toBe(0o600);
}

async function prepared(...before: Operation[]): Promise<string> {
  const dataDir = join(root, `${folders++}`);
  for (const operation of before) await run(operation, dataDir);
  return dataDir;
}

/** A copy of that folder, in which a process was killed before its file operation of this number. */
async function killedIn(operation: Operation, from: string, at: number): Promise<string> {
  const dataDir = join(root, `${folders++}`);
  if (existsSync(from)) cpSync(from, dataDir, { recursive: true });
  files.arm(at);
  // the last operations release the lock, which fails silently
  await run(operation, dataDir).catch((error: Error) => expect(error.message).toBe('killed'));
  files.disarm();
  // the lock of a killed process is free (lock.test.ts); here the killed process is this one, so its lock is deleted
  const folder = join(dataDir, 'tls');
  if (existsSync(folder))
    for (const name of readdirSync(folder)) if (name.startsWith('lock.')) rmSync(join(folder, name));
  return dataDir;
}

async function operationsOf(operation: Operation, from: string): Promise<number> {
  const dataDir = join(root, `${folders++}`);
  if (existsSync(from)) cpSync(from, dataDir, { recursive: true });
  files.arm(Number.POSITIVE_INFINITY);
  await run(operation, dataDir);
  return files.disarm();
}

/** The errors of an operation that finds nothing to do. Any other error is a folder that a person has to repair. */
const refusal = /no rotation of the site CA was begun|too late to cancel|makes it at its first start/;

const noRotation = 'Error: no rotation of the site CA was begun; begin one with: cvm tls rotate-ca';

describe('the folder of the site CA, when a process that changes it is killed at any point', () => {
  afterEach(() => {
    files.disarm();
  });
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  const killings: [string, Operation, Operation[]][] = [
    ['a first start', 'load', []],
    ['a renewal', 'renew', ['load']],
    ['the begin of a rotation', 'begin', ['load']],
    ['the end of a rotation', 'finish', ['load', 'begin']],
    ['the cancelling of a rotation', 'cancel', ['load', 'begin']],
  ];

  it.each(killings)(
    'during %s, is whole after the next operation, whichever that is; the killed one may be repeated',
    async (_what, operation, before) => {
      const from = await prepared(...before);
      const old = before.length > 0 ? caOf(from) : undefined;
      const count = await operationsOf(operation, from);
      expect(count).toBeGreaterThan(5);
      for (let at = 1; at <= count; at++) {
        for (const next of Object.keys(operations) as Operation[]) {
          const dataDir = await killedIn(operation, from, at);
          const has = (name: string) => existsSync(join(dataDir, 'tls', name));
          const [started, rotating] = [has('server.crt'), has('next-ca.key')];
          const said = await run(next, dataDir).then(() => '', String);
          if (said !== '') expect(said, `${operation} killed at ${at}, then ${next}`).toMatch(refusal);
          // repeated, the operation is done; when the last of its files was gone, it was done already
          if (next === operation) expect(said).toBe(before.includes('begin') && !rotating ? noRotation : '');
          if (started && said === '') expectWhole(dataDir);
          await run('load', dataDir);
          expectWhole(dataDir);
          if (next === operation) expect(has('next-ca.crt')).toBe(operation === 'begin');
          // a device that was not given the next CA still trusts the gateway
          if (old !== undefined && operation !== 'finish' && next !== 'finish') expect(caOf(dataDir)).toBe(old);
          rmSync(dataDir, { recursive: true });
        }
      }
    },
  );

  it('is whole after a second process is killed while it completes the work of the first', async () => {
    const from = await prepared('load', 'begin');
    const count = await operationsOf('finish', from);
    for (let at = 1; at <= count; at += 3) {
      const first = await killedIn('finish', from, at);
      const left = await operationsOf('load', first);
      for (let again = 1; again <= left; again++) {
        const dataDir = await killedIn('load', first, again);
        await run('load', dataDir);
        expectWhole(dataDir);
        rmSync(dataDir, { recursive: true });
      }
    }
  });
});

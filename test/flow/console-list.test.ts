import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { SilentReport } from '../../registry/silent-devices.ts';
import { startTestConsole, type TestConsole } from '../support/console.ts';

const page = 50;
const serialOf = (index: number) => `SN-${String(index).padStart(6, '0')}`;

describe('the list of many devices', () => {
  let console: TestConsole;
  let api: Awaited<ReturnType<TestConsole['browser']>>['api'];
  const reads: string[] = [];
  const many = 20_000;
  beforeAll(async () => {
    console = await startTestConsole({ env: { CVM_SITE: 'plant-1' } });
    Object.assign(console.operator.deps, {
      registry: new Proxy({}, { get: (_, name) => () => reads.push(String(name)) }),
      silent: {
        read: async () => {
          reads.push('silent');
          return undefined;
        },
      },
    });
    await console.keeper.clear();
    const states = ['registered', 'enrolled', 'blocked', 'provisioning'] as const;
    await console.keeper.fill(
      Array.from({ length: many }, (_, index) => ({
        serial: serialOf(index),
        state: states[index % states.length] ?? 'enrolled',
        ofSite: index % 2 === 0,
      })),
    );
    ({ api } = await console.browser());
  });
  afterAll(() => console.close());

  const middle = serialOf(many / 2);
  it.each([
    ['first page', ''],
    ['a deep page', `&after=${serialOf(many - 2 * page)}`],
    ['a page by prefix', '&prefix=SN-01'],
    ['a deep page by prefix', `&prefix=SN-01&after=${serialOf(19_000)}`],
    ['a page by state', '&state=blocked'],
    ['a page by site', '&site=plant-1'],
    ['a page by all of them', `&prefix=SN-0&state=registered&site=plant-1&after=${middle}`],
    ['a page of a prefix that no serial has', '&prefix=ZZ'],
    ['a page of another site', '&site=elsewhere'],
    ['a page of silent devices', '&silent=true'],
  ])('%s makes no scan, no read of the table, and no read of the whole directory', async (_name, query) => {
    const { redis } = console.server;
    const outputBytes = async () => Number(/total_net_output_bytes:(\d+)/.exec(await redis.info('stats'))?.[1]);
    // other parts of the console may look at Redis meanwhile: what counts is what a page takes, ten times over
    reads.length = 0;
    await redis.config('RESETSTAT');
    const before = await outputBytes();
    for (let time = 0; time < 10; time++) {
      const answer = await api(`/devices?limit=${page}${query}`);
      expect(answer.status).toBe(200);
      expect(answer.body.devices.length).toBeLessThanOrEqual(page);
    }
    const bytes = (await outputBytes()) - before;
    const commands = [...(await redis.info('commandstats')).matchAll(/cmdstat_([a-z|]+):calls=(\d+)/g)];
    const called = new Map(commands.map(([, name = '', calls]) => [name, Number(calls)]));
    // a page is some members of at most ten sets; all members would be ten times 600 KB
    const perPage = (query.includes('state') ? 2 : 10) * (page + 1) * 40 + 4000;
    expect(bytes).toBeLessThan(10 * perPage);
    const known = ['zrangebylex', 'zlexcount', 'get', 'pexpire', 'exists', 'info', 'config|resetstat', 'ping'];
    expect([...called.keys()].filter((name) => !known.includes(name))).toEqual([]);
    expect(called.get('zrangebylex') ?? 0).toBeLessThanOrEqual(100);
    // the report of the sweep is one row, and read once for all who look
    expect(reads.filter((name) => name !== 'silent')).toEqual([]);
    expect(reads.length).toBeLessThanOrEqual(1);
  });
});

describe('the list of devices while others enrol and remove some', () => {
  let console: TestConsole;
  beforeAll(async () => {
    console = await startTestConsole();
  });
  afterAll(() => console.close());

  it('shows each device that stays once, whatever comes and goes between two pages', async () => {
    const entry = (index: number) => ({ serial: serialOf(index), state: 'enrolled', ofSite: false }) as const;
    const staying = Array.from({ length: 200 }, (_, index) => 10 * index);
    await console.keeper.put(staying.map(entry));
    const { api } = await console.browser();
    const seen: string[] = [];
    let next: string | undefined = '';
    for (let turn = 0; next !== undefined; turn++) {
      const { body } = await api(`/devices?limit=30&after=${next}`);
      seen.push(...body.devices.map(({ serial }: { serial: string }) => serial));
      next = body.next;
      // in front of the place, behind it, and the place itself
      await console.keeper.put([entry(1 + turn), entry(1991 + turn)]);
      const place = Number(next?.slice(3));
      if (next !== undefined && !Number.isNaN(place)) {
        await console.keeper.remove([next]);
        await console.keeper.put([{ ...entry(place + 10), state: 'blocked' }]);
      }
    }
    expect(new Set(seen).size).toBe(seen.length);
    expect(seen.filter((serial) => Number(serial.slice(3)) % 10 === 0)).toEqual(staying.map(serialOf));
  });
});

describe('the list of devices, and what the latest sweep found at AWS', () => {
  let console: TestConsole;
  let read: () => Promise<SilentReport | undefined>;
  let reads = 0;
  beforeEach(async () => {
    reads = 0;
    console = await startTestConsole({ env: { CVM_SITE: 'plant-1' } });
    Object.assign(console.operator.deps.silent, {
      read: () => {
        reads++;
        return read();
      },
    });
  });
  afterEach(() => console.close());
  const device = (number: number) => ({ serial: `Q-${number}`, site: 'plant-1', issuedAt: 1_700_000_000_500 });
  const report = { at: 1, count: 3, unasked: 0, oldest: [3, 1, 2].map(device) };

  it('has those that never came alive, of the latest sweep', async () => {
    read = async () => report;
    const { api } = await console.browser();
    const { body } = await api('/devices?silent=true&limit=2');
    expect(body).toMatchObject({ next: 'Q-2', total: 3 });
    expect(body.devices[0]).toMatchObject({ serial: 'Q-1', state: 'registered', cameAlive: { connected: false } });
    expect((await api('/devices?silent=true&after=Q-2')).body.devices).toHaveLength(1);
    const asked = { at: '1970-01-01T00:00:00.001Z', unasked: 0 };
    expect((await api('/devices?silent=true&prefix=Z')).body).toEqual({ devices: [], total: 0, asked });
    expect(reads).toBe(1);
  });

  it('says of a device that it never came alive, unless it has another certificate by now, or none that works', async () => {
    read = async () => report;
    const registered = { state: 'registered', ofSite: true, registeredAt: 1_700_000_000 } as const;
    await console.keeper.put([
      { serial: 'Q-1', ...registered },
      { serial: 'Q-2', ...registered, registeredAt: 1_700_000_001 },
      { serial: 'Q-3', ...registered, state: 'blocked' },
      { serial: 'Q-4', ...registered },
    ]);
    const { api } = await console.browser();
    const { devices } = (await api('/devices')).body;
    expect(devices.map(({ cameAlive }: { cameAlive?: object }) => cameAlive)).toEqual([
      { connected: false },
      undefined,
      undefined,
      undefined,
    ]);
  });

  it('is there without it while the table does not answer, or refuses', async () => {
    await console.keeper.put([{ serial: 'Q-1', state: 'registered', ofSite: true, registeredAt: 1_700_000_000 }]);
    const { api } = await console.browser();
    const failing: (typeof read)[] = [() => Promise.reject(new Error('refused')), () => new Promise(() => {})];
    for (const each of failing) {
      read = each;
      const answer = await api('/devices');
      expect([answer.status, answer.body.devices.length]).toEqual([200, 1]);
    }
  });
});

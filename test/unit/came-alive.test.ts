import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import { lifeOf } from '../../registry/came-alive.ts';
import type { Device } from '../../registry/device.ts';
import { createMemoryRegistry, memoryRows } from '../../registry/memory.ts';
import { createSilentDevices, type SilentRow } from '../../registry/rules/silent-devices.ts';
import { createMetrics } from '../../telemetry/metrics.ts';
import { createCameAliveReview, pauseMs, startCameAliveFollower } from '../../worker/came-alive.ts';
import { createMemoryConnectivity } from '../fakes/memory-connectivity.ts';

const [hour, day] = [3_600_000, 86_400_000];

function open() {
  let at = 1_800_000_000_000;
  const rows = new Map<string, Device>();
  const registry = createMemoryRegistry(rows);
  const cloud = createMemoryConnectivity(() => at);
  const events: string[] = [];
  const audit = {
    record: (event: string, fields: object) => void events.push(`${event} ${(fields as { serial: string }).serial}`),
    trouble: () => undefined,
    async close() {},
  };
  const { connectivity } = cloud;
  const log = pino({ level: 'silent' });
  const deps = { registry, connectivity, audit, log, metrics: createMetrics().metrics, now: () => at };
  return {
    ...{ rows, registry, cloud, events, deps },
    vended(serial: string, more: Partial<Device> = {}): void {
      const row = { serial, tokenHash: 't', requestedAt: at, enrolledAt: at, attempt: 1, issuedAt: at };
      rows.set(serial, { ...row, state: 'registered', certificateId: `c-${serial}`, ...more });
    },
    wait: (ms: number): void => {
      at += ms;
    },
    /** as a sweep does */
    async sweep(most?: number) {
      const review = createCameAliveReview(deps, most);
      for (const device of rows.values()) review.look(device);
      return review.finish(() => false);
    },
  };
}

describe('whether a device came alive', () => {
  it('is known of a device that has connected since its certificate went live, and of no other state', () => {
    const device = { state: 'registered', certificateId: 'c', issuedAt: hour } as const;
    expect(lifeOf(device)).toBe('unasked');
    expect(lifeOf({ ...device, lookedAt: 2 * hour })).toBe('silent');
    expect(lifeOf({ ...device, lookedAt: 2 * hour, seenAt: hour + 1 })).toBe('seen');
    expect(lifeOf({ ...device, state: 'blocked' })).toBeUndefined();
    expect(lifeOf({ ...device, state: 'enrolled' })).toBeUndefined();
  });

  it('is asked anew for the next certificate: a connection before counts for nothing', async () => {
    const { vended, cloud, wait, sweep, rows } = open();
    vended('reissued');
    cloud.connect('reissued');
    expect(await sweep()).toMatchObject({ count: 0 });
    wait(hour);
    const { seenAt, lookedAt } = rows.get('reissued') ?? {};
    vended('reissued', { certificateId: 'another', ...(seenAt && lookedAt ? { seenAt, lookedAt } : {}) });
    wait(hour);
    expect(await sweep()).toMatchObject({ count: 1, oldest: [{ serial: 'reissued' }] });
  });
});

describe('the review of a sweep', () => {
  it('lists devices that never connected, oldest first, and records once that one came alive', async () => {
    const { vended, cloud, wait, sweep, events, rows } = open();
    vended('older', { site: 'plant-7' });
    wait(hour);
    vended('younger');
    vended('alive');
    cloud.connect('alive');
    wait(2 * hour);
    const report = await sweep();
    expect(report).toMatchObject({ count: 2, unasked: 0, reason: undefined });
    expect(report.oldest.map(({ serial, site }) => [serial, site])).toEqual([
      ['older', 'plant-7'],
      ['younger', undefined],
    ]);
    expect(events).toEqual(['came-alive alive']);
    expect(rows.get('alive')).toHaveProperty('seenAt');
    wait(2 * day);
    cloud.disconnect('older');
    expect(await sweep()).toMatchObject({ count: 1, oldest: [{ serial: 'younger' }] });
    expect(events).toEqual(['came-alive alive', 'came-alive older']);
  });

  it('asks the more seldom the older a device is, and at least once a day', async () => {
    expect([0, hour, 5 * hour, day, 40 * day].map(pauseMs)).toEqual([hour, hour, 5 * hour, day, day]);
    const { vended, cloud, wait, sweep } = open();
    vended('silent');
    wait(10 * hour);
    await sweep();
    wait(hour);
    await sweep();
    expect(cloud.asked).toHaveLength(1);
    wait(24 * hour);
    expect(await sweep()).toMatchObject({ count: 1 });
    expect(cloud.asked).toHaveLength(2);
  });

  it('asks about a bounded number of devices, begins with those that it never asked about, and says how many are left', async () => {
    const { vended, sweep, wait, cloud } = open();
    for (const number of [1, 2, 3, 4, 5]) vended(`d${number}`);
    wait(hour);
    expect(await sweep(2)).toMatchObject({ count: 2, unasked: 3 });
    wait(day);
    expect(await sweep(2)).toMatchObject({ count: 4, unasked: 1 });
    expect(new Set(cloud.asked).size).toBe(4);
  });

  it('says why AWS cannot be asked, with the cure, and keeps what it knows', async () => {
    const { vended, sweep, wait, cloud } = open();
    vended('known');
    await sweep();
    wait(2 * day);
    vended('new');
    cloud.setFault('no-index');
    expect(await sweep()).toMatchObject({ count: 1, unasked: 1, reason: expect.stringMatching(/mend it/) });
  });

  it('changes nothing of a device that got another certificate meanwhile', async () => {
    const { vended, registry, rows } = open();
    vended('moved-on');
    expect(await registry.noteLook({ serial: 'moved-on', certificateId: 'before' }, { lookedAt: 1 })).toBe(false);
    expect(rows.get('moved-on')).not.toHaveProperty('lookedAt');
  });
});

describe('the worker that vended', () => {
  it('asks by itself until the device came alive, and no longer', async () => {
    const { vended, cloud, events, deps } = open();
    const follower = startCameAliveFollower(deps, { afterMs: Array(1000).fill(0), pollMs: 2 });
    vended('followed');
    follower.follow('followed');
    await expect.poll(() => cloud.asked.length).toBeGreaterThan(1);
    cloud.connect('followed');
    await expect.poll(() => events).toEqual(['came-alive followed']);
    const { length } = cloud.asked;
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(cloud.asked).toHaveLength(length);
    await follower.close();
  });

  it('leaves it to the sweep after the last of its looks, and where AWS cannot be asked', async () => {
    const { vended, cloud, deps } = open();
    const follower = startCameAliveFollower(deps, { afterMs: [0, 0], pollMs: 2 });
    vended('silent');
    follower.follow('silent');
    await expect.poll(() => cloud.asked).toHaveLength(2);
    cloud.setFault('no-index');
    vended('unknown');
    follower.follow('unknown');
    await expect.poll(() => cloud.asked).toHaveLength(3);
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(cloud.asked).toEqual(['silent', 'silent', 'unknown']);
    await follower.close();
  });
});

describe('the report of silent devices', () => {
  it('is read as it was written, and replaced as a whole', async () => {
    const silent = createSilentDevices(memoryRows(new Map<string, SilentRow>()));
    expect(await silent.read()).toBeUndefined();
    const oldest = [
      { serial: 'a', issuedAt: 1, site: 'plant-7' },
      { serial: 'b', issuedAt: 2 },
    ];
    await silent.write({ at: 5, count: 2, unasked: 1, reason: 'off', oldest });
    expect(await silent.read()).toEqual({ at: 5, count: 2, unasked: 1, reason: 'off', oldest });
    await silent.write({ at: 6, count: 0, unasked: 0, oldest: [] });
    expect(await silent.read()).toEqual({ at: 6, count: 0, unasked: 0, oldest: [] });
  });
});

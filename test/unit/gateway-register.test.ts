import { describe, expect, it } from 'vitest';
import { memoryRows } from '../../registry/memory.ts';
import { createGateways, type GatewayRow } from '../../registry/rules/gateways.ts';
import { createGatewayRegister } from '../../worker/gateway-register.ts';
import { createRecorder } from '../support/records.ts';
import { newGateway } from '../support/trust.ts';

/** A register on a table in memory, with a clock that stands. */
function set() {
  const gateways = createGateways(memoryRows(new Map<string, GatewayRow>()));
  const { audit, log, records, lines } = createRecorder();
  const time = { now: 1_000_000_000, elapsed: 0, asked: 0, away: false };
  const register = createGatewayRegister({
    gateways: {
      async record(...given) {
        time.asked++;
        if (time.away) throw new Error('the table is away');
        return gateways.record(...given);
      },
    },
    audit,
    log,
    now: () => time.now,
    elapsed: () => time.elapsed,
  });
  const isApproved = ({ identity } = one) => register.isApproved(identity, time.now);
  return { gateways, register, records, lines, time, isApproved };
}
const [one, two] = [newGateway(), newGateway()];

describe('what a worker knows of the gateways', () => {
  it('begins with the first request: the first gateway of the table is approved at once, and it is recorded', async () => {
    const { isApproved, records, lines } = set();
    expect(await isApproved()).toBe(true);
    expect(records).toEqual([{ event: 'gateway-approved', gateway: one.identity.id, by: 'itself' }]);
    expect(lines()).toMatchObject([{ level: 40, gateway: one.identity.id }]);
    expect(await isApproved(two)).toBe(false);
  });

  it('notes a gateway whose clock is ahead as seen now: it would stay known for longer', async () => {
    const { gateways, register, time } = set();
    await register.note([{ gateway: one.identity, at: time.now + 7_200_000 }]);
    expect(await gateways.known()).toMatchObject([{ id: one.identity.id, seenAt: time.now }]);
  });

  it('costs no call for each request, and an approval that was withdrawn ends within ten seconds', async () => {
    const { gateways, isApproved, time } = set();
    expect(await Promise.all(Array.from({ length: 20 }, () => isApproved()))).toEqual(Array(20).fill(true));
    expect(time.asked).toBe(1);
    await gateways.forget(one.identity.id);
    time.elapsed = 9999;
    expect(await isApproved()).toBe(true);
    time.elapsed = 10_000;
    expect(await isApproved()).toBe(false);
    expect(time.asked).toBe(2);
  });

  it('is asked for anew about an unknown gateway at once, but not more often than once a second', async () => {
    const { gateways, isApproved, time } = set();
    await isApproved();
    time.elapsed = 1000;
    const strangers = Array.from({ length: 50 }, () => newGateway());
    expect(await Promise.all(strangers.map(isApproved))).toEqual(Array(50).fill(false));
    expect(time.asked).toBe(2);
    time.elapsed = 2000;
    expect(await isApproved(two)).toBe(false);
    await gateways.approve(two.identity.id);
    expect(await isApproved(two)).toBe(false);
    time.elapsed = 3000;
    expect(await isApproved(two)).toBe(true);
    expect(time.asked).toBe(4);
  });

  it('is an outage while the table is away, and no refusal', async () => {
    const { isApproved, time } = set();
    time.away = true;
    await expect(isApproved()).rejects.toThrow('the table is away');
    await expect(Promise.all([isApproved(), isApproved(two)])).rejects.toThrow('the table is away');
    time.away = false;
    time.elapsed = 1000;
    expect(await isApproved()).toBe(true);
    time.elapsed = 11_000;
    time.away = true;
    await expect(isApproved()).rejects.toThrow('the table is away');
  });

  it('is not asked for more often than once a second while the table is away or refuses', async () => {
    const { isApproved, time } = set();
    time.away = true;
    for (let times = 0; times < 20; times++) await expect(isApproved(two)).rejects.toThrow('the table is away');
    expect(time.asked).toBe(1);
    time.elapsed = 1000;
    await expect(isApproved(two)).rejects.toThrow('the table is away');
    expect(time.asked).toBe(2);
  });

  it('is said, with the cure, once a minute: which gateways wait', async () => {
    const { isApproved, lines, time } = set();
    await isApproved();
    const waiting = () => lines().filter((line) => line.gateways !== undefined);
    for (time.elapsed = 1000; time.elapsed < 61_000; time.elapsed += 1000) await isApproved(two);
    expect(waiting()).toMatchObject([
      { level: 40, gateways: [two.identity.id], cure: expect.stringContaining('approve') },
    ]);
    await isApproved(two);
    expect(waiting()).toHaveLength(2);
  });
});

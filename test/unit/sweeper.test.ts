import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { memoryRows } from '../../registry/memory.ts';
import { createSweepLease, type Lease } from '../../registry/rules/sweep-lease.ts';
import { createLog } from '../../runtime/log.ts';
import { startSweeper } from '../../worker/sweeper.ts';

const hour = 3_600_000;
const summary = { complete: true, dryRun: false, devices: 0, certificates: 0, findings: {}, ms: 0 };

describe('the sweeper', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  const start = (once: Parameters<typeof startSweeper>[0]['once'], random: () => number, record = vi.fn()) =>
    startSweeper({
      lease: createSweepLease(memoryRows(new Map<string, Lease>())),
      once,
      intervalMs: hour,
      log: createLog('silent'),
      audit: { record, flush: async () => {} } as never,
      now: () => Date.now(),
      random,
    });

  it.each([0, 0.5, 0.999])('sweeps once an interval, whatever the random delays are (%d)', async (random) => {
    const once = vi.fn(async () => summary);
    const sweeper = start(once, () => random);
    await vi.advanceTimersByTimeAsync(24 * hour);
    expect(once.mock.calls.length).toBeGreaterThanOrEqual(21);
    expect(once.mock.calls.length).toBeLessThanOrEqual(25);
    await sweeper.close();
  });

  it('goes on after a sweep that failed, and records only those that came to their end', async () => {
    const record = vi.fn();
    const once = vi
      .fn(async () => summary)
      .mockRejectedValueOnce(new Error('away'))
      .mockResolvedValueOnce({ ...summary, complete: false });
    const sweeper = start(once, () => 0.5, record);
    await vi.advanceTimersByTimeAsync(4 * hour);
    expect([once.mock.calls.length, record.mock.calls.length]).toEqual([4, 2]);
    await sweeper.close();
  });
});

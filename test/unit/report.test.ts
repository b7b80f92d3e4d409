import { describe, expect, it } from 'vitest';
import { percentile, report, summary } from '../../gateway-sim/report.ts';

describe('the report of a simulation', () => {
  it('takes percentiles by nearest rank', () => {
    const hundred = Array.from({ length: 100 }, (_, index) => index + 1);
    expect([0.5, 0.95, 0.99, 1].map((share) => percentile(hundred, share))).toEqual([50, 95, 99, 100]);
    expect(percentile([], 0.5)).toBe(0);
    expect(percentile([7], 0.01)).toBe(7);
  });

  it('counts every device once, by how it ended', () => {
    const result = report(
      [
        { kind: 'accepted', latencyMs: 10, attempts: 1 },
        { kind: 'accepted', latencyMs: 30, attempts: 3 },
        { kind: 'rejected', errorCode: 'InvalidToken', attempts: 1 },
        { kind: 'wrong', reason: 'no key', attempts: 1 },
        { kind: 'timedOut', reason: 'connect ECONNREFUSED', attempts: 9 },
      ],
      2000,
    );
    expect(result).toEqual({
      devices: 5,
      accepted: 2,
      rejected: { InvalidToken: 1 },
      wrong: { 'no key': 1 },
      timedOut: 1,
      timedOutReasons: { 'connect ECONNREFUSED': 1 },
      attempts: 15,
      latencyMs: { p50: 10, p95: 30, p99: 30, max: 30 },
      wallMs: 2000,
      perSecond: 1,
    });
    expect(summary(result)).toContain('rejected, InvalidToken');
    expect(summary(result)).toContain('timed out, connect ECONNREFUSED');
  });

  it('says nothing of latency where no device was answered', () => {
    const result = report([{ kind: 'timedOut', reason: 'no answer in time', attempts: 1 }], 2000);
    expect(result).not.toHaveProperty('latencyMs');
    expect(summary(result)).not.toContain('p50');
  });
});

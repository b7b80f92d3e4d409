import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createFloodLimit } from '../../runtime/flood-limit.ts';

describe('a flood limit', () => {
  beforeEach(() => void vi.useFakeTimers({ now: Date.UTC(2026, 2, 1) }));
  afterEach(() => void vi.useRealTimers());

  function start(limits: { perSecond?: number; perDay?: number; perDayOfAll?: number }) {
    const reports: { beyond: object; ofLastSeconds: number }[] = [];
    const limit = createFloodLimit<'a' | 'b'>(
      { perSecond: 10, perDay: 20, perDayOfAll: 40, ...limits },
      (beyond, ofLastSeconds) => reports.push({ beyond, ofLastSeconds }),
    );
    const fitting = (source: string, tries: number) =>
      Array.from({ length: tries }, () => limit.fits(source, 'a')).filter(Boolean).length;
    return { limit, reports, fitting };
  }

  it('limits the lines of one source in a second and in a day, and the lines of all in a day', () => {
    const { fitting } = start({});
    expect([fitting('x', 50), fitting('y', 50)]).toEqual([10, 10]);
    vi.advanceTimersByTime(1000);
    expect([fitting('x', 50), fitting('y', 50)]).toEqual([10, 0]);
    vi.advanceTimersByTime(86_400_000);
    expect(fitting('z', 50)).toBe(10);
  });

  it('keeps room for a quiet source while another one floods', () => {
    const { fitting } = start({ perDay: 15 });
    for (let second = 0; second < 100; second++) {
      fitting('loud', 1000);
      vi.advanceTimersByTime(1000);
    }
    expect(fitting('quiet', 1)).toBe(1);
  });

  it('keeps the first lines of a quiet source while many others flood, as long as a quarter of the day has room for them', () => {
    const { fitting } = start({ perDay: 2500, perDayOfAll: 5000 });
    for (let second = 0; second < 1000; second++) {
      for (const loud of ['a', 'b', 'c', 'd']) fitting(loud, 11);
      vi.advanceTimersByTime(1000);
    }
    expect([fitting('quiet', 1), fitting('quiet', 20)]).toEqual([1, 9]);
    vi.advanceTimersByTime(1000);
    expect(fitting('quiet', 20)).toBe(0);
    const others = Array.from({ length: 1000 }, (_, index) => fitting(`other ${index}`, 10));
    expect(others.reduce((sum, each) => sum + each, 0)).toBe(1250 - 10);
  });

  it('reports what it did not let through once a minute, by kind, and the rest when it is closed', () => {
    const { limit, reports, fitting } = start({});
    fitting('x', 15);
    limit.fits('x', 'b');
    expect(reports).toEqual([]);
    vi.advanceTimersByTime(60_000);
    expect(reports).toEqual([{ beyond: { a: 5, b: 1 }, ofLastSeconds: 60 }]);
    vi.advanceTimersByTime(60_000);
    expect(reports).toHaveLength(1);
    fitting('x', 11);
    limit.close();
    expect(reports.at(-1)).toEqual({ beyond: { a: 1 }, ofLastSeconds: 60 });
    expect(vi.getTimerCount()).toBe(0);
  });

  it('does not grow with the number of sources', () => {
    const { limit } = start({ perDayOfAll: Number.MAX_SAFE_INTEGER });
    const before = process.memoryUsage().heapUsed;
    for (let source = 0; source < 300_000; source++) limit.fits(`192.0.2.${source}`, 'a');
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(60_000_000);
  });
});

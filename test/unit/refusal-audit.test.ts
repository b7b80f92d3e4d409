import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createRefusalAudit } from '../../broker/refusal-audit.ts';
import { problem } from '../../protocol/problems.ts';

type Recorded = { event: string; serial?: string; byCode?: Record<string, number> };

describe('the record of refusals', () => {
  beforeEach(() => void vi.useFakeTimers({ now: Date.UTC(2026, 2, 1) }));
  afterEach(() => void vi.useRealTimers());

  const invalid = problem('InvalidRequest', 'no');
  function start() {
    const records: Recorded[] = [];
    const record = (event: string, fields = {}) => void records.push({ event, ...fields });
    return { records, refusals: createRefusalAudit({ record, async close() {} }, Date.now) };
  }
  const singly = (records: readonly Recorded[]) => records.filter(({ event }) => event === 'refused').length;
  const byNumber = (records: readonly Recorded[]) =>
    records.reduce((sum, { byCode }) => sum + (byCode?.InvalidRequest ?? 0), 0);

  it('counts every refusal, and has single entries for at most 10 a second and 5,000 a day', () => {
    const { records, refusals } = start();
    for (let second = 0; second < 86_400; second++) {
      for (let index = 0; index < 12; index++) refusals.refused('SN-1', '192.0.2.1', invalid);
      if (second === 9) expect(singly(records)).toBe(100);
      vi.advanceTimersByTime(1000);
    }
    expect(singly(records)).toBe(5000);
    expect(records.length).toBeLessThanOrEqual(5000 + 1440);
    expect(JSON.stringify(records).length).toBeLessThan(2_000_000);
    // the next day has a budget of its own
    refusals.refused('SN-1', '192.0.2.1', invalid);
    expect(records.at(-1)).toMatchObject({ event: 'refused' });
    refusals.close();
    expect(singly(records) + byNumber(records)).toBe(12 * 86_400 + 1);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('does not quote text that is not a serial', () => {
    const { records, refusals } = start();
    for (const serial of ['SN-1', 'a\u2028b', 'x'.repeat(129), '']) refusals.refused(serial, '192.0.2.1', invalid);
    refusals.close();
    expect(records.map(({ serial }) => serial)).toEqual(['SN-1', undefined, undefined, undefined]);
  });
});

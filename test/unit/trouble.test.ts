import { afterEach, describe, expect, it, vi } from 'vitest';
import { watchSlots } from '../../broker/trouble.ts';
import { createLog } from '../../runtime/log.ts';

describe('the trouble of a broker', () => {
  afterEach(() => {
    vi.useRealTimers();
  });

  it('is told as long as devices are turned away, and logged once a minute with their number and the limit', async () => {
    vi.useFakeTimers();
    const lines: { level: number; connections: number; cure: string }[] = [];
    const log = createLog('info', { write: (line: string) => void lines.push(JSON.parse(line)) });
    let count = 0;
    const look = watchSlots({ turnedAway: () => ({ total: 0, address: count }), log });
    /** as the health check does, every five seconds */
    let trouble: string | undefined;
    const wait = async (seconds: number, more = 0) => {
      for (let second = 1; second <= seconds; second++) {
        count += more;
        await vi.advanceTimersByTimeAsync(1000);
        if (second % 5 === 0) trouble = look();
      }
    };
    await wait(60);
    expect([trouble, lines]).toEqual([undefined, []]);
    await wait(90, 1);
    expect(trouble).toMatch(/raise CVM_MAX_CONNECTIONS_PER_ADDRESS .*slots$/m);
    expect(trouble).not.toContain('CVM_MAX_CONNECTIONS,');
    expect(lines.map(({ connections, level }) => [connections, level])).toEqual([
      [5, 40],
      [60, 40],
    ]);
    expect(lines[1]?.cure).toContain('CVM_MAX_CONNECTIONS_PER_ADDRESS');
    await wait(5);
    expect(trouble).toContain('turns devices away');
    await wait(115);
    // the last ones are told as what is over
    expect([trouble, lines.slice(2)]).toMatchObject([undefined, [{ level: 30, connections: 25 }]]);
  });
});

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createClockSteps } from '../../runtime/clock-steps.ts';
import { createLog } from '../../runtime/log.ts';

describe('steps of the clock', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  function start(wall = Date.UTC(2026, 9, 1)) {
    const clocks = { wall, monotonic: 0 };
    const lines: { msg: string }[] = [];
    const log = createLog('info', { write: (line: string) => void lines.push(JSON.parse(line)) });
    const steps = createClockSteps({ log, wall: () => clocks.wall, monotonic: () => clocks.monotonic });
    const seen: number[] = [];
    /** Both clocks go forward, the wall clock by so much more. */
    const pass = (ms: number, more = 0) => {
      clocks.wall += ms + more;
      clocks.monotonic += ms;
      vi.advanceTimersByTime(1000);
    };
    return { steps, seen, lines, pass, clocks };
  }

  it('are noticed within a second, once, in both directions, and said', () => {
    const { steps, seen, lines, pass } = start();
    steps.follow((byMs) => seen.push(byMs));
    pass(1000, 7_200_000);
    pass(1000);
    pass(1000, -3_600_000);
    pass(1000);
    expect(seen).toEqual([7_200_000, -3_600_000]);
    expect(lines.map(({ msg }) => msg)).toEqual([
      'the clock of this machine was set forward',
      'the clock of this machine was set back',
    ]);
  });

  it('are no ticks that come late, and no slow correction by NTP', () => {
    const { steps, seen, pass } = start();
    steps.follow((byMs) => seen.push(byMs));
    pass(90_000);
    for (let second = 0; second < 1900; second++) pass(1000, 0.5);
    expect(seen).toEqual([]);
  });

  it('are waited for where the clock shows a time before this version was made, which is said at start with its cure', () => {
    const { steps, seen, lines, pass } = start(1000);
    steps.follow((byMs) => seen.push(byMs));
    steps.follow(() => {});
    expect(lines.map(({ msg }) => msg)).toEqual([expect.stringMatching(/is wrong.*best by NTP/)]);
    pass(1000, Date.UTC(2026, 9, 1));
    expect(seen).toEqual([Date.UTC(2026, 9, 1)]);
  });

  it('are not looked for before anybody asks, nor after the end', async () => {
    const { steps, seen, pass, clocks } = start();
    expect(vi.getTimerCount()).toBe(0);
    clocks.wall += 7_200_000;
    steps.follow((byMs) => seen.push(byMs));
    pass(1000);
    await steps.close();
    pass(1000, 7_200_000);
    expect(seen).toEqual([]);
  });
});

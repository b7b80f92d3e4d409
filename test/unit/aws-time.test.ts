import { describe, expect, it } from 'vitest';
import { createAwsTime } from '../../aws/time.ts';
import { createLog } from '../../runtime/log.ts';

const hour = 3_600_000;
const start = Date.UTC(2026, 9, 1);

describe('the time by which rows are judged', () => {
  function open() {
    const clocks = { wall: start, monotonic: 0 };
    const lines: { level: number; msg: string; offMs: number }[] = [];
    const log = createLog('info', { write: (line: string) => void lines.push(JSON.parse(line)) });
    const time = createAwsTime({ log, wall: () => clocks.wall, monotonic: () => clocks.monotonic });
    const pass = (ms: number) => {
      clocks.wall += ms;
      clocks.monotonic += ms;
    };
    const hear = (ms: number) => time.hear(new Date(ms).toUTCString());
    return { clocks, lines, time, pass, hear };
  }

  it('is that of this machine before AWS answered, and while the two differ by minutes only', () => {
    const { time, hear, lines } = open();
    expect(time.isKnown()).toBe(false);
    expect(time.now()).toBe(start);
    hear(start + 200_000);
    expect([time.isKnown(), time.now()]).toEqual([true, start]);
    expect(lines).toEqual([]);
  });

  it('is in whole milliseconds, also where the clock that only goes forward has fractions', () => {
    const { time, hear, clocks } = open();
    hear(start + hour);
    clocks.monotonic += 7.25;
    expect(time.now()).toBe(start + hour + 7);
  });

  it.each([
    ['behind', 2 * hour],
    ['ahead', -2 * hour],
  ])('is that of AWS where this machine is hours %s, which is said once', (where, ms) => {
    const { time, hear, pass, lines } = open();
    hear(start + ms);
    pass(1000);
    hear(start + ms + 1000);
    pass(60_000);
    expect(time.now()).toBe(start + ms + 61_000);
    expect(lines).toMatchObject([{ level: 40, msg: expect.stringMatching(new RegExp(`${where}.*NTP`)) }]);
  });

  it('stays right when the clock of this machine is set: wrong, or right again', () => {
    const { time, clocks, hear, pass, lines } = open();
    hear(start);
    clocks.wall -= 2 * hour;
    expect(time.now()).toBe(start);
    pass(1000);
    hear(start + 1000);
    clocks.wall += 2 * hour;
    expect(time.now()).toBe(start + 1000);
    hear(start + 1000);
    expect(lines.map(({ msg }) => msg)).toEqual([
      expect.stringContaining('behind'),
      'the clock of this machine agrees with that of AWS again',
    ]);
  });

  it('ignores an answer without a date', () => {
    const { time } = open();
    time.hear(undefined);
    time.hear('yesterday');
    expect([time.isKnown(), time.now()]).toEqual([false, start]);
  });
});

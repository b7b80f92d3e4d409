import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createLookupLine } from '../../broker/lookup-line.ts';

describe('serials that are to be looked up', () => {
  beforeEach(() => vi.useFakeTimers());
  afterEach(() => vi.useRealTimers());

  function start() {
    const lookedUp: string[] = [];
    return { lookedUp, line: createLookupLine((serial) => lookedUp.push(serial), 100) };
  }

  it('are looked up one in a tenth of a second, the first at once', () => {
    const { lookedUp, line } = start();
    for (const serial of ['A', 'B', 'B', 'C']) line.add(serial, '192.0.2.1');
    expect(lookedUp).toEqual(['A']);
    vi.advanceTimersByTime(250);
    expect(lookedUp).toEqual(['A', 'B', 'C']);
    vi.advanceTimersByTime(1000);
    line.add('D', '192.0.2.1');
    expect(lookedUp).toEqual(['A', 'B', 'C', 'D']);
  });

  it('have their turn by address, however many another address names', () => {
    const { lookedUp, line } = start();
    for (let index = 0; index < 5000; index++) line.add(`stranger-${index}`, '192.0.2.1');
    line.add('device', '192.0.2.2');
    vi.advanceTimersByTime(200);
    expect(lookedUp).toEqual(['stranger-0', 'stranger-1', 'device']);
    // and of those, only a hundred wait
    vi.advanceTimersByTime(60_000);
    expect(lookedUp).toHaveLength(1 + 100 + 1);
  });

  it('wait of a thousand addresses at most, and no longer than their broker runs', () => {
    const { lookedUp, line } = start();
    for (let index = 0; index < 1500; index++) line.add(`S-${index}`, `address ${index}`);
    vi.advanceTimersByTime(50_000);
    expect(lookedUp).toHaveLength(501);
    vi.advanceTimersByTime(100_000);
    expect(lookedUp).toHaveLength(1001);
    line.add('S-2', 'a');
    line.add('S-3', 'a');
    line.close();
    vi.advanceTimersByTime(100_000);
    line.add('S-4', 'a');
    expect(lookedUp).toHaveLength(1002);
    const { lookedUp: none, line: idle } = start();
    idle.close();
    idle.add('S-1', 'a');
    expect(none).toEqual([]);
  });
});

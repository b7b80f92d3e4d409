import { describe, expect, it } from 'vitest';
import { createAbsentWorkers } from '../../broker/absent-workers.ts';
import { createRecorder } from '../support/records.ts';

describe('a broker whose requests wait', () => {
  const start = () => {
    const { log, lines } = createRecorder();
    const clock = { ms: 0 };
    const workers = createAbsentWorkers(log, () => clock.ms);
    const reports: number[] = [];
    /** Looks once a second. */
    const pass = (seconds: number, line: { length?: number; longestMs?: number; worker?: boolean } = {}) => {
      for (let each = 0; each < seconds; each++) {
        clock.ms += 1000;
        const second = 1000 + clock.ms / 1000;
        if (line.worker) reports.unshift(second - 1);
        const seen = reports.filter((at) => at > second - 30).map((at) => ({ second: at, answered: 0, waiting: 1 }));
        workers.look({ second, length: line.length ?? 3, marks: [], seconds: seen }, line.longestMs ?? 60_000);
      }
    };
    return { pass, lines, workers, clock };
  };

  it('says after ten seconds that no worker takes them, with the cure, once a minute, and when one is back', () => {
    const { pass, lines, workers } = start();
    pass(9);
    expect([lines(), workers.trouble()]).toEqual([[], undefined]);
    pass(1);
    expect(lines()).toMatchObject([
      { level: 50, waiting: 3, cure: expect.stringContaining('cvm worker'), msg: expect.stringContaining('no worker') },
    ]);
    expect(workers.trouble()).toMatch(/no worker takes them; start a worker/);
    pass(59);
    expect(lines()).toHaveLength(1);
    pass(1);
    expect(lines()).toHaveLength(2);
    pass(1, { worker: true });
    expect(lines()[2]).toMatchObject({ level: 30, msg: 'a worker takes requests again' });
    expect(workers.trouble()).toBeUndefined();
  });

  it('says it also where each device leaves after some seconds, and keeps it in its health until they are back', () => {
    const { pass, lines, workers, clock } = start();
    for (let device = 0; device < 10; device++) {
      pass(4, { longestMs: 3900 });
      pass(1, { longestMs: 4900 });
      clock.ms += 60_000;
    }
    expect(lines()).toHaveLength(1);
    clock.ms += 119_000;
    expect(workers.trouble()).toBeDefined();
    clock.ms += 2000;
    expect(workers.trouble()).toBeUndefined();
  });

  it('says nothing while a worker reports, before it can have, or where only the first of them has begun to wait', () => {
    const { pass, lines, workers } = start();
    pass(100, { worker: true });
    // a worker that starts again
    pass(2 + 9);
    pass(100, { worker: true });
    pass(100, { longestMs: 3000 });
    pass(100, { length: 0 });
    expect([lines(), workers.trouble()]).toEqual([[], undefined]);
  });
});

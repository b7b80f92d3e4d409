import { expect, it } from 'vitest';
import { createLineLog } from '../../worker/line-log.ts';
import { createRecorder } from '../support/records.ts';

it('a long line is in the log when it begins, every half a minute with its speed, and when it is short again; a short one is not', () => {
  const { log, lines } = createRecorder();
  let time = 0;
  const lineLog = createLineLog(log, () => time);
  const pass = (seconds: number, state: (second: number) => { length: number; oldestSeconds: number }) => {
    for (let second = 0; second < seconds; second++) {
      time += 1000;
      for (let each = 0; each < 10; each++) lineLog.answered();
      lineLog.look(state(second));
    }
  };
  pass(100, () => ({ length: 40, oldestSeconds: 4 }));
  expect(lines()).toEqual([]);
  pass(61, (second) => ({ length: 600 - 9 * second, oldestSeconds: 10 + second }));
  expect(lines()).toMatchObject([
    { waiting: 600, oldestSeconds: 10, msg: 'requests wait in line' },
    { waiting: 330, oldestSeconds: 40, perSecond: 10 },
    { waiting: 60, oldestSeconds: 70, perSecond: 10 },
  ]);
  pass(20, () => ({ length: 0, oldestSeconds: 0 }));
  expect(lines().slice(3)).toMatchObject([{ waiting: 0, msg: 'the line is short again' }]);
});

import { Writable } from 'node:stream';
import { expect, it } from 'vitest';
import { watchEventLoop } from '../../runtime/event-loop.ts';
import { createLog } from '../../runtime/log.ts';

it('an event loop that is late is measured, and has a line in the log', async () => {
  let logged = '';
  const sink = new Writable({
    write(chunk, _encoding, done) {
      logged += chunk;
      done();
    },
  });
  const watch = watchEventLoop({ log: createLog('info', sink), windowMs: 200 });
  const block = () => {
    for (const end = performance.now() + 300; performance.now() < end; );
  };
  const blocking = setInterval(block, 50);
  await expect.poll(watch.p99Seconds).toBeGreaterThan(0.05);
  clearInterval(blocking);
  expect(logged).toContain('the event loop is late');
  await watch.close();
});

import { describe, expect, it } from 'vitest';
import { createLifecycle } from '../../runtime/lifecycle.ts';
import { createLog } from '../../runtime/log.ts';

/** A lifecycle whose parts note what happens to them. */
function open() {
  const notes: string[] = [];
  const log = createLog('info', { write: (line: string) => void notes.push(JSON.parse(line).part) });
  const lifecycle = createLifecycle(log, { graceMs: 100, leastMs: 20 });
  const part = (name: string, close = async () => {}) =>
    lifecycle.add({
      name,
      async close() {
        notes.push(`${name} closes`);
        await close();
      },
    });
  return { lifecycle, part, notes };
}

describe('the lifecycle of a process', () => {
  it('closes its parts once, the last one first, also when one fails or never ends', async () => {
    const { lifecycle, part, notes } = open();
    part('first');
    part('failing', () => Promise.reject(new Error('no')));
    part('endless', () => new Promise(() => {}));
    part('late', () => new Promise(() => {}));
    await Promise.all([lifecycle.close(), lifecycle.close()]);
    expect(notes).toEqual([
      'late closes',
      'late',
      'endless closes',
      'endless',
      'failing closes',
      'failing',
      'first closes',
    ]);
  });

  it('closes at once a part that was ready only after the closing began', async () => {
    const { lifecycle, part, notes } = open();
    await lifecycle.close();
    part('late');
    await lifecycle.close();
    expect(notes).toEqual(['late closes']);
  });

  it('ends a process when a part cannot go on, with its error, whether it has started by then or not', async () => {
    for (const when of ['before', 'after']) {
      const { lifecycle } = open();
      const end = lifecycle.untilEnd();
      if (when === 'before') lifecycle.fail(new Error('lost'));
      const started = lifecycle.started(when === 'before' ? new Promise(() => {}) : Promise.resolve(), end);
      if (when === 'before') await expect(started).rejects.toThrow('lost');
      else {
        expect(await started).toBeUndefined();
        lifecycle.fail(new Error('lost'));
      }
      await expect(end).rejects.toThrow('lost');
      for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.removeAllListeners(signal);
    }
  });

  it('opens the log anew at SIGHUP where it is a file, goes on where that fails, and ends at SIGTERM', async () => {
    const lines: string[] = [];
    const opened: string[] = [];
    const reopen = () => {
      opened.push('log');
      if (opened.length > 2) throw new Error('no such folder');
    };
    const log = createLog('info', { write: (line) => void lines.push(line) });
    const lifecycle = createLifecycle(log, undefined, reopen);
    lifecycle.onHangUp(() => opened.push('another process'));
    const end = lifecycle.untilEnd();
    for (let times = 0; times < 2; times++) process.emit('SIGHUP', 'SIGHUP');
    expect(opened).toEqual(['log', 'another process', 'log', 'another process']);
    expect(lines.join()).toContain('the log could not be opened anew; it goes on in the file as it was');
    process.emit('SIGTERM', 'SIGTERM');
    expect(await end).toBe('SIGTERM');
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.removeAllListeners(signal);
  });
});

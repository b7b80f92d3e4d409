import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type HealthCheck, keepHealthFiles } from '../../runtime/health-files.ts';
import { createLog } from '../../runtime/log.ts';

describe('the health files of a part', () => {
  let folder: string;
  let lines: { level: number; msg: string }[];
  let health: ReturnType<typeof keepHealthFiles>;
  const alive = () => join(folder, 'worker.alive');
  const trouble = () => join(folder, 'worker.trouble');
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-health-'));
    lines = [];
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
    rmSync(folder, { recursive: true, force: true });
  });
  const open = (...checks: HealthCheck[]) => {
    const log = createLog('info', { write: (line: string) => void lines.push(JSON.parse(line)) });
    health = keepHealthFiles({
      folder,
      part: 'worker',
      checks: checks.map((look, at) => ({ name: `check ${at}`, look })),
      log,
    });
  };

  it('show by the age of one that the part runs, and are removed at its end', async () => {
    open();
    await vi.advanceTimersByTimeAsync(1000);
    utimesSync(alive(), 0, 0);
    await vi.advanceTimersByTimeAsync(5000);
    expect(statSync(alive()).mtimeMs).toBeGreaterThan(0);
    await health.close();
    expect([existsSync(alive()), existsSync(trouble())]).toEqual([false, false]);
  });

  it('say the site of the part, where it has one', async () => {
    health = keepHealthFiles({ folder, part: 'worker', checks: [], site: 'plant-7', log: createLog('silent') });
    await vi.advanceTimersByTimeAsync(1000);
    expect(readFileSync(alive(), 'utf8')).toBe('alive, site plant-7\n');
    await health.close();
  });

  it('say every trouble as long as there is one; a check that fails or has no outcome is one, too', async () => {
    let troubles: (string | undefined)[] = [undefined];
    let hangs = false;
    open(
      () => troubles[0],
      () => troubles[1],
      () => (hangs ? new Promise(() => {}) : undefined),
    );
    await vi.advanceTimersByTimeAsync(1000);
    expect(existsSync(trouble())).toBe(false);
    troubles = ['Redis is full', 'AWS is away'];
    await vi.advanceTimersByTimeAsync(5000);
    expect(readFileSync(trouble(), 'utf8')).toBe('Redis is full\nAWS is away\n');
    expect(health.report()).toEqual({
      part: 'worker',
      site: undefined,
      checks: [
        { name: 'check 0', trouble: 'Redis is full' },
        { name: 'check 1', trouble: 'AWS is away' },
        { name: 'check 2', trouble: undefined },
      ],
    });
    [troubles, hangs] = [[undefined], true];
    await vi.advanceTimersByTimeAsync(15_000);
    expect(readFileSync(trouble(), 'utf8')).toContain('a health check: no outcome');
    utimesSync(alive(), 0, 0);
    await vi.advanceTimersByTimeAsync(5000);
    expect(statSync(alive()).mtimeMs).toBeGreaterThan(0);
    hangs = false;
    await vi.advanceTimersByTimeAsync(15_000);
    expect(existsSync(trouble())).toBe(false);
    await health.close();
  });

  it('that cannot be written do not end the part; the log says so once, with the cure, and once that it is over', async () => {
    const unhandled = vi.fn();
    process.on('unhandledRejection', unhandled);
    mkdirSync(alive());
    open();
    await vi.advanceTimersByTimeAsync(20_000);
    expect(lines).toMatchObject([
      { level: 50, msg: expect.stringMatching(/worker.alive cannot be written.*correct the path/) },
    ]);
    rmSync(alive(), { recursive: true });
    await vi.advanceTimersByTimeAsync(5000);
    expect(lines.slice(1)).toMatchObject([{ level: 30, msg: expect.stringContaining('can be written again') }]);
    await health.close();
    vi.useRealTimers();
    await new Promise((resolve) => setTimeout(resolve, 10));
    process.off('unhandledRejection', unhandled);
    expect(unhandled).not.toHaveBeenCalled();
  });

  it('are written again when their folder was removed', async () => {
    open();
    await vi.advanceTimersByTimeAsync(1000);
    rmSync(folder, { recursive: true });
    await vi.advanceTimersByTimeAsync(5000);
    expect(existsSync(alive())).toBe(true);
    await health.close();
  });

  it('are not left behind when the part is closed in the middle of a check', async () => {
    let answer = (_trouble: string) => {};
    open(() => new Promise((resolve) => (answer = resolve)));
    await vi.advanceTimersByTimeAsync(1000);
    await health.close();
    answer('late');
    await vi.advanceTimersByTimeAsync(0);
    expect([existsSync(alive()), existsSync(trouble())]).toEqual([false, false]);
  });
});

import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { keepHeartbeat } from '../../worker/heartbeat.ts';

describe('the heartbeat of a worker', () => {
  let dataDir: string;
  const file = () => join(dataDir, 'worker.alive');
  beforeEach(() => {
    dataDir = mkdtempSync(join(tmpdir(), 'cvm-heartbeat-'));
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
    rmSync(dataDir, { recursive: true, force: true });
  });

  it('touches a file while the worker is alive, and removes it at the end', async () => {
    const heartbeat = keepHeartbeat(dataDir, async () => true);
    await vi.advanceTimersByTimeAsync(1000);
    expect(existsSync(file())).toBe(true);
    await heartbeat.close();
    expect(existsSync(file())).toBe(false);
  });

  it('does not end the worker when the file cannot be written', async () => {
    const unhandled = vi.fn();
    process.on('unhandledRejection', unhandled);
    mkdirSync(file());
    const heartbeat = keepHeartbeat(dataDir, async () => true);
    await vi.advanceTimersByTimeAsync(6000);
    vi.useRealTimers();
    await new Promise((resolve) => setTimeout(resolve, 10));
    process.off('unhandledRejection', unhandled);
    expect(unhandled).not.toHaveBeenCalled();
    rmSync(file(), { recursive: true });
    await heartbeat.close();
  });

  it('leaves no file behind when it is closed in the middle of a beat', async () => {
    let answer = (_alive: boolean) => {};
    const heartbeat = keepHeartbeat(dataDir, () => new Promise((resolve) => (answer = resolve)));
    await vi.advanceTimersByTimeAsync(1000);
    await heartbeat.close();
    answer(true);
    await vi.advanceTimersByTimeAsync(0);
    expect(existsSync(file())).toBe(false);
  });
});

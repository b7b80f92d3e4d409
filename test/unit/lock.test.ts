import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Lock, LockHeld, takeLock } from '../../runtime/lock.ts';
import { isAlive, ownMark } from '../../runtime/process-mark.ts';

describe('a lock', () => {
  let folder: string;
  let file: string;
  const held: Lock[] = [];
  const take = async (patienceMs = 0) => {
    const lock = await takeLock(file, patienceMs);
    held.push(lock);
    return lock;
  };
  /** Leaves a lock file behind, as a holder does that was killed. */
  const leave = (mark: object | string, number = 1) =>
    writeFileSync(`${file}.${number}`, typeof mark === 'string' ? mark : JSON.stringify(mark));
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-lock-'));
    file = join(folder, 'lock');
  });
  afterEach(() => {
    for (const lock of held.splice(0)) lock.release();
    rmSync(folder, { recursive: true, force: true });
  });

  it('is held by one at a time, however many want it, and leaves one file behind', async () => {
    let [inside, most, done] = [0, 0, 0];
    await Promise.all(
      Array.from({ length: 12 }, async () => {
        const lock = await take(30_000);
        most = Math.max(most, ++inside);
        await sleep(5);
        inside--;
        done++;
        lock.release();
      }),
    );
    expect([most, done]).toEqual([1, 12]);
    expect(readdirSync(folder)).toHaveLength(1);
  });

  it('names the process that holds it when the caller does not want to wait until it is free', async () => {
    await take();
    await expect(take()).rejects.toThrow(new RegExp(`held by process ${process.pid}`));
  });

  it('of a process that was killed is free', async () => {
    const other = spawn('sleep', ['60']);
    const mark = { ...ownMark(), pid: other.pid ?? 0 };
    other.kill('SIGKILL');
    await new Promise((resolve) => other.once('exit', resolve));
    leave(mark);
    await take();
  });

  it.skipIf(process.platform !== 'linux')('is free when another process has the pid of its holder by now', async () => {
    leave({ ...ownMark(), began: '1' });
    await take();
  });

  it('of another container is free when its holder has not touched it for a while', async () => {
    leave({ ...ownMark(), where: 'elsewhere' });
    expect(isAlive({ ...ownMark(), where: 'elsewhere' })).toBeUndefined();
    setTimeout(() => utimesSync(`${file}.1`, 0, 0), 100);
    await take();
    expect(readdirSync(folder)).toEqual(['lock.2']);
  });

  it('of another container that lives is waited for, and not taken', async () => {
    leave({ ...ownMark(), where: 'elsewhere' });
    const living = setInterval(() => utimesSync(`${file}.1`, new Date(), new Date()), 500);
    await expect(take()).rejects.toBeInstanceOf(LockHeld);
    clearInterval(living);
  });

  it('of another container that lives is not taken because the clock was set forward', async () => {
    leave({ ...ownMark(), where: 'elsewhere' });
    utimesSync(`${file}.1`, 0, 0);
    const living = setInterval(() => utimesSync(`${file}.1`, new Date(), new Date()), 2000);
    await expect(take()).rejects.toBeInstanceOf(LockHeld);
    clearInterval(living);
  });

  it('of another container whose holder died before the clock was set back is free', async () => {
    leave({ ...ownMark(), where: 'elsewhere' });
    const ahead = new Date(Date.now() + 7_200_000);
    utimesSync(`${file}.1`, ahead, ahead);
    await take();
    expect(readdirSync(folder)).toEqual(['lock.2']);
  });

  it('that is released twice, or by a frozen holder that lost it, stays with its new holder', async () => {
    const first = await take();
    first.release();
    await take();
    first.release();
    await expect(take()).rejects.toBeInstanceOf(LockHeld);
    expect(readdirSync(folder)).toEqual(['lock.2']);
  });
});

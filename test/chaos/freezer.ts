import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '../support/network.ts';

/** Where a worker is to be frozen: right before a call, or when it has the answer. */
export type FreezePoint = { readonly step: string; readonly moment: 'before' | 'after' };

export const freezeSteps = [
  ...['claim', 'ensureThing', 'issue', 'record', 'attach', 'activate', 'finish', 'deliver'],
] as const;

/**
 * Freezes workers. The run sets a point for one token; the first worker that comes there with this token stops itself with
 * SIGSTOP, as a machine that is suspended, and leaves its process id, so that the run can let it go on.
 */
const setFile = (folder: string, tokenHash: string) => join(folder, `freeze-${plain(tokenHash)}`);
const frozenFile = (folder: string, tokenHash: string) => join(folder, `frozen-${plain(tokenHash)}`);
const plain = (tokenHash: string) => tokenHash.replace(':', '-');

export function setFreezePoint(folder: string, tokenHash: string, point: FreezePoint): void {
  writeFileSync(setFile(folder, tokenHash), JSON.stringify(point));
}

/** Resolves with the process id when a worker is frozen there; undefined when none came there in time. */
export async function untilFrozen(folder: string, tokenHash: string, forMs: number): Promise<number | undefined> {
  const file = frozenFile(folder, tokenHash);
  try {
    await until(async () => existsSync(file), forMs, 'a worker is frozen');
    return Number(readFileSync(file, 'utf8'));
  } catch {
    return undefined;
  }
}

/** For the worker: called before and after each call. */
export function freezeAt(folder: string, tokenHash: string | undefined, { step, moment }: FreezePoint): void {
  if (tokenHash === undefined || !existsSync(setFile(folder, tokenHash))) return;
  const point = JSON.parse(readFileSync(setFile(folder, tokenHash), 'utf8')) as FreezePoint;
  if (point.step !== step || point.moment !== moment) return;
  const own = `${setFile(folder, tokenHash)}-${process.pid}`;
  try {
    // of two workers that come here at once, one is frozen
    renameSync(setFile(folder, tokenHash), own);
  } catch {
    return;
  }
  writeFileSync(own, String(process.pid));
  renameSync(own, frozenFile(folder, tokenHash));
  process.kill(process.pid, 'SIGSTOP');
}

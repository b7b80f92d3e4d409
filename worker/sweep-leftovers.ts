import type { Device } from '../registry/device.ts';
import type { SweepRun } from './sweep-findings.ts';
import { repair } from './sweep-repair.ts';

/** Twice the replay window leaves room for a clock that was wrong. */
export function isReplyOverdue({ keptReply, issuedAt }: Device, { startedAt, replayWindowMs }: SweepRun): boolean {
  return keptReply !== undefined && issuedAt !== undefined && issuedAt + 2 * replayWindowMs < startedAt;
}

/** Erases the replies of devices that never acknowledged their certificate, and may not ask for it any more. */
export async function eraseReplies(overdue: readonly Device[], run: SweepRun): Promise<void> {
  for (const device of overdue) {
    if (run.stopped?.()) return;
    await repair(run, { serial: device.serial }, async () => void (await run.registry.eraseKeptReply(device)));
  }
}

/** How long a sweep looks for the thing of a device that was removed, in milliseconds. */
const removedMs = 24 * 3_600_000;

/** A worker that was frozen while its device was removed may make the thing again. That thing grants nothing; the sweep deletes it all the same. */
export async function judgeRemoved(removed: readonly Device[], run: SweepRun): Promise<void> {
  for (const device of removed) {
    if (run.stopped?.()) return;
    await repair(run, { serial: device.serial }, () => removeThingAgain(device, run));
  }
}

async function removeThingAgain(removed: Device, run: SweepRun): Promise<void> {
  const { registry, issuer, report, dryRun, startedAt } = run;
  const { serial, removedAt = 0 } = removed;
  // the serial may have been enrolled again since the table was read
  if ((await registry.find(serial)) !== undefined) return;
  if ((await issuer.certificatesOf(serial)) !== undefined) {
    if (!dryRun) await issuer.removeThing(serial);
    report({ kind: 'thing-unnamed', serial, action: 'removed' });
  }
  if (!dryRun && removedAt + removedMs < startedAt) await registry.forgetRemoved(removed);
}

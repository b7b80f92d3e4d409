import { setTimeout as sleep } from 'node:timers/promises';
import type { Device } from '../registry/device.ts';
import type { Devices } from '../registry/devices.ts';
import { isHeld, usualLeaseMs } from '../registry/lease.ts';
import type { OperatorDeps } from './deps.ts';

/** Why nothing was done to a device. */
export type Refusal =
  | { readonly outcome: 'not-enrolled' }
  /** a worker is provisioning it; try again when its lease is over */
  | { readonly outcome: 'being-provisioned' }
  /** the row changed between reading and writing it; try again */
  | { readonly outcome: 'changed' }
  | { readonly outcome: 'being-removed' }
  /** unblock it first */
  | { readonly outcome: 'is-blocked' }
  /** another tool wrote an unknown `applyState` */
  | { readonly outcome: 'state-unknown' };

export type FindDeps = Pick<OperatorDeps, 'now'> & { readonly registry: Pick<Devices, 'find'> };

/**
 * How long to wait for a worker that is provisioning the device, in milliseconds. `onWait` is called once, before that. `force`: do
 * not wait, and end its attempt.
 */
export type Patience = { readonly ms: number; onWait?(): void; readonly force?: boolean };

export const noPatience: Patience = { ms: 0 };

const pollMs = 250;

/** The device, if it is enrolled and no worker is provisioning it, or none is any more within the patience. */
export async function findIdle(
  serial: string,
  { registry, now }: FindDeps,
  { ms, onWait, force }: Patience = noPatience,
): Promise<{ readonly outcome: 'found'; readonly device: Device } | Refusal> {
  const end = performance.now() + ms;
  for (let waits = 0; ; waits++) {
    const device = await registry.find(serial);
    if (device === undefined) return { outcome: 'not-enrolled' };
    const { state, leaseUntil } = device;
    if (force) return { outcome: 'found', device };
    if (state !== 'provisioning' || !isHeld(leaseUntil, now(), usualLeaseMs)) return { outcome: 'found', device };
    if (performance.now() >= end) return { outcome: 'being-provisioned' };
    if (waits === 0) onWait?.();
    await sleep(pollMs);
  }
}

/** How often a decision is tried while the row changes under it: a device that asks all the time changes its row some ten times a second. */
export const urgentTries = 200;

/** Decides again while the row changed between reading and writing it. */
export async function untilItStands<T extends { readonly outcome: string }>(
  tries: number,
  decide: () => Promise<T>,
): Promise<T> {
  for (let left = tries; ; left--) {
    const decided = await decide();
    if (decided.outcome !== 'changed' || left <= 1) return decided;
  }
}

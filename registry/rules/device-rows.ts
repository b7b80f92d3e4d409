import type { Device } from '../device.ts';
import { type Condition, conditionsOn, type Rows } from '../rows.ts';

export type DeviceRows = Rows<Device>;

/** The conditions about a device. */
export const where = conditionsOn<Device>();

/** The row is as it was read: every attempt and every decision shows in these four. */
export function isAsRead({ tokenHash, state, attempt, certificateId }: Device): Condition<Device> {
  return where.is({ tokenHash, state, attempt, certificateId });
}

export const noLease = { leaseUntil: undefined, claimedBy: undefined };

/** Ends the attempt that is under way: raises the fence, so that it can write nothing more. */
export function endOfAttempt({ attempt }: Device) {
  return { attempt: attempt + 1, ...noLease };
}

export const noCertificate = { certificateId: undefined, keyDigest: undefined, ownKey: undefined };

export function idsOf(...ids: readonly (string | undefined)[]): string[] {
  return ids.filter((id) => id !== undefined);
}

import type { Device } from '../device.ts';
import { any, type Condition, conditionsOn, type Rows } from '../rows.ts';

export type DeviceRows = Rows<Device>;

/** The conditions about a device. */
export const where = conditionsOn<Device>();

/** The row is as it was read: every attempt and every decision shows in these. What the row has in a form that is never written is left out. */
export function isAsRead(device: Device): Condition<Device> {
  const { tokenHash, tokenForm, state, attempt, claimId, certificateId } = device;
  return where.is({
    ...(tokenForm === undefined ? { tokenHash } : {}),
    ...(state === 'unknown' ? {} : { state }),
    attempt,
    claimId,
    certificateId,
  });
}

/** The row is what is left of a removed device. */
export const isRemoved: Condition<Device> = where.isAbove('removedAt', 0);

/** The device of a row; undefined for what is left of a removed one. */
export function unlessRemoved(row: Device | undefined): Device | undefined {
  return row?.removedAt === undefined ? row : undefined;
}

/** The device is one that the gateways of this site serve, as `serves` has it. */
export function isServedAt(site: string | undefined): Condition<Device> {
  const hasNone = where.isMissing('site');
  return site === undefined ? hasNone : any(hasNone, where.is({ site }));
}

export const noLease = { leaseUntil: undefined, claimedBy: undefined };

/** Ends the attempt that is under way: its claim has no id in the row any more, so it can write nothing more. */
export function endOfAttempt({ attempt }: Device) {
  return { attempt: attempt + 1, claimId: undefined, ...noLease };
}

export const noCertificate = {
  certificateId: undefined,
  keptReply: undefined,
  keyDigest: undefined,
  template: undefined,
  ownKey: undefined,
};

export function idsOf(...ids: readonly (string | undefined)[]): string[] {
  return ids.filter((id) => id !== undefined);
}

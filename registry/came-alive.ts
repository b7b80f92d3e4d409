import type { Device } from './device.ts';

/** How far the issuer's clock and ours may differ where times are compared, in milliseconds. */
const skewMs = 30_000;

/**
 * Whether a device has ever connected to the issuer with its certificate. `unasked`: the issuer was not asked yet. Undefined for a device without
 * a certificate that should work.
 */
export function lifeOf(
  device: Pick<Device, 'state' | 'certificateId' | 'issuedAt' | 'seenAt' | 'lookedAt'>,
): 'seen' | 'silent' | 'unasked' | undefined {
  const { state, certificateId, issuedAt, seenAt, lookedAt } = device;
  if (state !== 'registered' || certificateId === undefined || issuedAt === undefined) return undefined;
  // what was seen before belongs to the certificate before
  if (isSince(seenAt, issuedAt)) return 'seen';
  return isSince(lookedAt, issuedAt) ? 'silent' : 'unasked';
}

/** @param at epoch milliseconds, by the issuer's clock */
export const isSince = (at: number | undefined, issuedAt: number): boolean =>
  at !== undefined && at >= issuedAt - skewMs;

/** What is learnt of devices after their certificate went live. It changes nothing that a gateway goes by. */
export interface CameAlive {
  /**
   * Notes when the issuer was asked, and when the device was first seen, if it was. False, and no change, when the device has another
   * certificate by now, or is gone.
   */
  noteLook(
    device: Pick<Device, 'serial' | 'certificateId'>,
    look: { readonly lookedAt: number; readonly seenAt?: number | undefined },
  ): Promise<boolean>;
}

import { latestEnd, type RosterEntry } from '../queue/roster.ts';
import type { IndexedDevice } from '../registry/site-index.ts';

/** The roster's entry of a device: all that brokers know of it. @param replayWindowMs how long a device that was served may ask again */
export function rosterEntryOf(device: IndexedDevice, replayWindowMs: number): RosterEntry {
  const { serial, tokenHash, sealedKeys } = device;
  const validUntil = validUntilOf(device, replayWindowMs);
  return {
    serial,
    tokenHash,
    ...(sealedKeys === undefined ? {} : { sealedKeys }),
    ...(validUntil === undefined ? {} : { validUntil: wholeTime(validUntil) }),
  };
}

/** Until when the token can get the device its certificate, by the rules of a claim and of the replay window. */
function validUntilOf(device: IndexedDevice, replayWindowMs: number): number | undefined {
  if (device.state === 'blocked' || device.deliveredAt !== undefined) return 0;
  if (device.state === 'registered') return (device.issuedAt ?? device.requestedAt) + replayWindowMs;
  return device.tokenExpiresAt;
}

/** The row may hold any number, and what is signed must be what a broker keeps. */
function wholeTime(ms: number): number {
  return Math.min(latestEnd, Math.max(0, Math.floor(ms)));
}

/** Two entries of one device are equal when this is. A token has one set of sealed keys, so their names identify them. */
export function fingerprint({ tokenHash, sealedKeys = {}, validUntil }: RosterEntry): string {
  return [tokenHash, validUntil ?? '', ...Object.keys(sealedKeys).sort()].join(' ');
}

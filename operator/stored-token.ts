import { hashToken } from '../protocol/token.ts';
import type { StoredToken } from '../registry/device.ts';
import { serves } from '../registry/site.ts';
import { sealDeviceKeys } from '../sealing/device-keys.ts';
import type { SealedTo } from './deps.ts';

/** The part of a token that the table keeps: its hash, its end, and the keys derived from it, sealed to each gateway that serves the device. */
export function storedTokenOf(
  serial: string,
  token: string,
  {
    gateways,
    site,
    expiresAt,
  }: {
    readonly gateways: readonly SealedTo[];
    /** of the device */
    readonly site?: string | undefined;
    readonly expiresAt?: number | undefined;
  },
): StoredToken {
  const serving = gateways.filter((gateway) => serves(gateway.site, site));
  return {
    tokenHash: hashToken(token),
    ...(serving.length === 0 ? {} : { sealedKeys: sealDeviceKeys(serial, token, serving) }),
    ...(expiresAt === undefined ? {} : { tokenExpiresAt: expiresAt }),
  };
}

/** When a token that is made now ends; undefined when it does not end. */
export function expiryOf(lifetimeMs: number | undefined, now: number): number | undefined {
  return lifetimeMs === undefined ? undefined : now + lifetimeMs;
}

import { hashToken } from '../protocol/token.ts';
import type { StoredToken } from '../registry/device.ts';
import { type GatewayKey, sealDeviceKeys } from '../sealing/device-keys.ts';

/** The part of a token that the table keeps: its hash, its end, and the keys derived from it, sealed to each gateway. */
export function storedTokenOf(
  serial: string,
  token: string,
  { gateways, expiresAt }: { readonly gateways: readonly GatewayKey[]; readonly expiresAt?: number | undefined },
): StoredToken {
  return {
    tokenHash: hashToken(token),
    ...(gateways.length === 0 ? {} : { sealedKeys: sealDeviceKeys(serial, token, gateways) }),
    ...(expiresAt === undefined ? {} : { tokenExpiresAt: expiresAt }),
  };
}

/** When a token that is made now ends; undefined when it does not end. */
export function expiryOf(lifetimeMs: number | undefined, now: number): number | undefined {
  return lifetimeMs === undefined ? undefined : now + lifetimeMs;
}

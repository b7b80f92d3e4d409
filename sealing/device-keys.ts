import { createHash } from 'node:crypto';
import { derivePsk } from '../protocol/psk.ts';
import { hashToken } from '../protocol/token.ts';
import type { GatewayIdentity } from './gateway.ts';
import { type KeyPair, open, seal } from './hpke.ts';
import { deriveReplySeed } from './replies.ts';

/**
 * A device's keys. A gateway needs them before the device has sent its token; with TLS-PSK the device never sends the token. An operator who enrols
 * the device seals both to each gateway's own key, so that no table, queue or backup can be read for them.
 */
export type DeviceKeys = {
  /** 32 bytes, see `derivePsk` */
  readonly psk: Buffer;
  /** 32 bytes, see `replyKeysOf` */
  readonly replySeed: Buffer;
};

/** The part of a gateway's identity that those who enrol devices need. */
export type GatewayKey = Pick<GatewayIdentity, 'id' | 'publicKey'>;

const info = Buffer.from('cvm-gateway device keys v1');

/** Under this id version 0.1.0 sealed to a gateway: 16 hex digits of the SHA-256 of its raw X25519 key. */
export function earlierGatewayIdOf(publicKey: Buffer): string {
  return createHash('sha256').update(publicKey).digest('hex').slice(0, 16);
}

/** Seals a device's keys to each of these gateways: by gateway id, base64url. */
export function sealDeviceKeys(
  serial: string,
  token: string,
  gateways: readonly GatewayKey[],
): Readonly<Record<string, string>> {
  const keys = [derivePsk(serial, token), deriveReplySeed(serial, token)];
  const plain = Buffer.concat(keys);
  const aad = boundTo(serial, hashToken(token));
  const sealed = gateways.map(({ id, publicKey }) => [
    id,
    seal(Buffer.from(publicKey, 'base64url'), info, aad, plain).toString('base64url'),
  ]);
  for (const secret of [...keys, plain]) secret.fill(0);
  return Object.fromEntries(sealed);
}

/** A device's keys; undefined when they were not sealed to this gateway, for this serial and this token. */
export function openDeviceKeys(
  pair: KeyPair,
  serial: string,
  tokenHash: string,
  sealed: Buffer,
): DeviceKeys | undefined {
  try {
    const plain = open(pair, info, boundTo(serial, tokenHash), sealed);
    return { psk: plain.subarray(0, 32), replySeed: plain.subarray(32, 64) };
  } catch {
    return undefined;
  }
}

/** What was sealed for one device cannot be put into another's row, nor outlive its token. */
function boundTo(serial: string, tokenHash: string): Buffer {
  return Buffer.from(`${serial}\0${tokenHash}`);
}

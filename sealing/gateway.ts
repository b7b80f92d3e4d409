import { createHash, hkdfSync } from 'node:crypto';
import type { KeyPair } from './hpke.ts';
import { type SigningKey, signingKeyFrom } from './signing.ts';

/** The public keys of a gateway, base64url. */
export type GatewayKeys = {
  /** X25519: the keys of devices are sealed to it */
  readonly publicKey: string;
  /** Ed25519: the gateway signs with it what it puts into Redis */
  readonly signingKey: string;
};

/**
 * A gateway, as others know it. The id commits to both keys. So an operator who approves an id approves the keys, wherever
 * they come from.
 */
export type GatewayIdentity = GatewayKeys & { /** 32 hex digits */ readonly id: string };

/** A gateway, as it knows itself. */
export type OwnGateway = {
  readonly identity: GatewayIdentity;
  /** opens what was sealed to it */
  readonly pair: KeyPair;
  readonly signingKey: SigningKey;
};

const keyBytes = 32;
const signingInfo = 'cvm-gateway signing key v1';
const idInfo = 'cvm-gateway id v1';

/** @param pair X25519. The signing key is derived from it, so that there is one file to keep. */
export function ownGateway(pair: KeyPair): OwnGateway {
  const { d = '' } = pair.privateKey.export({ format: 'jwk' });
  const secret = Buffer.from(d, 'base64url');
  const seed = Buffer.from(hkdfSync('sha256', secret, '', signingInfo, keyBytes));
  const signingKey = signingKeyFrom(seed);
  for (const each of [secret, seed]) each.fill(0);
  const keys = { publicKey: pair.publicKey.toString('base64url'), signingKey: signingKey.publicKey };
  return { identity: { id: idOf(keys), ...keys }, pair, signingKey };
}

/** The gateway with these keys, which may come from anywhere. Undefined when they are no two keys, each in its one spelling. */
export function identityOf({ publicKey, signingKey }: GatewayKeys): GatewayIdentity | undefined {
  if (![publicKey, signingKey].every(isKey)) return undefined;
  const keys = { publicKey, signingKey };
  return { id: idOf(keys), ...keys };
}

function isKey(text: string): boolean {
  const raw = Buffer.from(text, 'base64url');
  return raw.length === keyBytes && raw.toString('base64url') === text;
}

function idOf({ publicKey, signingKey }: GatewayKeys): string {
  const hash = createHash('sha256').update(idInfo);
  for (const key of [publicKey, signingKey]) hash.update(Buffer.from(key, 'base64url'));
  return hash.digest('hex').slice(0, 32);
}

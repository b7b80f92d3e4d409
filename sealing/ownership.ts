import { createHmac, hkdfSync, timingSafeEqual } from 'node:crypto';
import type { ReplyKeys } from './replies.ts';

/*
 * A certificate ownership token names a certificate, and the holder of the registration token that got it. Nothing is stored for it: it is
 * signed with a key that only the registration token yields, so every broker can read it on a connection that presented that token, and it
 * is of no use on any other. Layout: version (1 byte), end (4, epoch seconds), certificate id (32), HMAC-SHA256 of all that (32).
 */
const version = 1;
const [idAt, macAt, length] = [5, 37, 69];
const info = 'cvm-gateway certificate ownership v1';

/** @param certificateId 64 hex digits @param endsAt epoch milliseconds @returns 92 characters of base64url */
export function makeOwnershipToken(keys: ReplyKeys, certificateId: string, endsAt: number): string {
  const named = Buffer.alloc(macAt);
  named.writeUInt8(version);
  named.writeUInt32BE(Math.floor(endsAt / 1000), 1);
  named.write(certificateId, idAt, 'hex');
  return Buffer.concat([named, macOf(keys, named)]).toString('base64url');
}

/** @returns undefined when it was not made with these keys. `endsAt`: epoch milliseconds; the caller compares it with its clock */
export function readOwnershipToken(
  keys: ReplyKeys,
  text: string,
): { readonly certificateId: string; readonly endsAt: number } | undefined {
  const token = Buffer.from(text, 'base64url');
  if (token.length !== length || token[0] !== version) return undefined;
  const named = token.subarray(0, macAt);
  if (!timingSafeEqual(macOf(keys, named), token.subarray(macAt))) return undefined;
  return { certificateId: named.toString('hex', idAt), endsAt: named.readUInt32BE(1) * 1000 };
}

/**
 * Whether an ownership token counts at this moment, on a connection with these keys.
 * @param now epoch milliseconds @returns `unfit`: it was made for another connection or device, or is none
 */
export function checkOwnership(
  keys: ReplyKeys,
  text: string,
  now: number,
): { readonly certificateId: string } | 'unfit' | 'ended' {
  const owned = readOwnershipToken(keys, text);
  if (owned === undefined) return 'unfit';
  return owned.endsAt < now ? 'ended' : { certificateId: owned.certificateId };
}

/** The salt of the reply keys is the serial, so the same registration token at two devices gives two keys. */
function macOf({ pair }: ReplyKeys, named: Buffer): Buffer {
  const { d = '' } = pair.privateKey.export({ format: 'jwk' });
  const secret = Buffer.from(d, 'base64url');
  const key = Buffer.from(hkdfSync('sha256', secret, '', info, 32));
  secret.fill(0);
  return createHmac('sha256', key).update(named).digest();
}

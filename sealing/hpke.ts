import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  createPrivateKey,
  createPublicKey,
  diffieHellman,
  type KeyObject,
  randomBytes,
} from 'node:crypto';

/**
 * HPKE (RFC 9180), base mode, single shot, one suite: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-128-GCM. Small enough
 * to stand on node:crypto's synchronous calls, which cost a tenth of WebCrypto's; the RFC's test vectors hold it to the
 * standard. Names follow the RFC.
 */
const kemSuite = Buffer.concat([Buffer.from('KEM'), i2osp(0x0020)]);
const hpkeSuite = Buffer.concat([Buffer.from('HPKE'), i2osp(0x0020), i2osp(0x0001), i2osp(0x0001)]);
const [Nk, Nn, Nh, Npk, Nt] = [16, 12, 32, 32, 16];
const version = Buffer.from('HPKE-v1');
const none = Buffer.alloc(0);

/** X25519 as JWK, RFC 8037 §2 */
const okp = { kty: 'OKP', crv: 'X25519' };
/** X25519 as PKCS #8, RFC 8410 §7: the 32 bytes of the private key follow */
const pkcs8 = Buffer.from('302e020100300506032b656e04220420', 'hex');
/** Node 20 reads JWK in a tenth of the time of DER. Node 26 refuses a JWK whose `x` does not belong to its `d`. */
const isNode20 = process.versions.node.startsWith('20.');

export type KeyPair = { readonly privateKey: KeyObject /** 32 bytes */; readonly publicKey: Buffer };

/** Nothing can be sealed to this public key: it has another length, or is one of the few with which every exchange gives zero. */
export class UnusableKey extends Error {}

/** Seals to a public key: the encapsulated key (32 bytes) followed by ciphertext and tag. §6.1 SealBase @throws UnusableKey */
export function seal(
  publicKey: Buffer,
  info: Buffer,
  aad: Buffer,
  plaintext: Buffer,
  ephemeral: KeyPair = newKeyPair(),
): Buffer {
  const dh = exchange(ephemeral, publicKey);
  const { key, nonce } = schedule(sharedSecret(dh, ephemeral.publicKey, publicKey), info);
  const cipher = createCipheriv('aes-128-gcm', key, nonce).setAAD(aad);
  return Buffer.concat([ephemeral.publicKey, cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]);
}

/** Opens what `seal` made. §6.1 OpenBase @throws when key, info, aad or ciphertext do not fit together */
export function open(pair: KeyPair, info: Buffer, aad: Buffer, sealed: Buffer): Buffer {
  if (sealed.length < Npk + Nt) throw new Error('sealed message is too short');
  const enc = sealed.subarray(0, Npk);
  const dh = diffieHellman({ privateKey: pair.privateKey, publicKey: importPublic(enc) });
  const { key, nonce } = schedule(sharedSecret(dh, enc, pair.publicKey), info);
  const decipher = createDecipheriv('aes-128-gcm', key, nonce).setAAD(aad).setAuthTag(sealed.subarray(-Nt));
  return Buffer.concat([decipher.update(sealed.subarray(Npk, -Nt)), decipher.final()]);
}

/** A key pair from keying material of at least 32 bytes, always the same one. §7.1.3 DeriveKeyPair */
export function deriveKeyPair(ikm: Buffer): KeyPair {
  const prk = labeledExtract(kemSuite, none, 'dkp_prk', ikm);
  return pairOf(labeledExpand(kemSuite, prk, 'sk', none, 32));
}

/**
 * Any 32 bytes are a private key (RFC 7748 §5). `generateKeyPairSync` is not used: see `runtime/p256.ts` for how a process with Node 20
 * would wait for itself for ever.
 */
export function newKeyPair(): KeyPair {
  return pairOf(randomBytes(32));
}

function pairOf(raw: Buffer): KeyPair {
  if (isNode20)
    return pairFrom(createPrivateKey({ key: { ...okp, d: raw.toString('base64url'), x: '' }, format: 'jwk' }));
  return pairFrom(createPrivateKey({ key: Buffer.concat([pkcs8, raw]), format: 'der', type: 'pkcs8' }));
}

/** @param privateKey X25519 */
export function pairFrom(privateKey: KeyObject): KeyPair {
  const { x = '' } = createPublicKey(privateKey).export({ format: 'jwk' });
  return { privateKey, publicKey: Buffer.from(x, 'base64url') };
}

function importPublic(raw: Buffer): KeyObject {
  return createPublicKey({ key: { ...okp, x: raw.toString('base64url') }, format: 'jwk' });
}

function exchange({ privateKey }: KeyPair, publicKey: Buffer): Buffer {
  try {
    return diffieHellman({ privateKey, publicKey: importPublic(publicKey) });
  } catch (cause) {
    throw new UnusableKey('nothing can be sealed to this public key', { cause });
  }
}

/** §4.1 ExtractAndExpand over the Diffie-Hellman result */
function sharedSecret(dh: Buffer, enc: Buffer, recipient: Buffer): Buffer {
  const prk = labeledExtract(kemSuite, none, 'eae_prk', dh);
  return labeledExpand(kemSuite, prk, 'shared_secret', Buffer.concat([enc, recipient]), Nh);
}

/** §5.1 KeySchedule, mode_base; a single message has sequence number 0, so the base nonce is the nonce */
function schedule(secret: Buffer, info: Buffer): { key: Buffer; nonce: Buffer } {
  const pskIdHash = labeledExtract(hpkeSuite, none, 'psk_id_hash', none);
  const infoHash = labeledExtract(hpkeSuite, none, 'info_hash', info);
  const context = Buffer.concat([Buffer.from([0]), pskIdHash, infoHash]);
  const prk = labeledExtract(hpkeSuite, secret, 'secret', none);
  return {
    key: labeledExpand(hpkeSuite, prk, 'key', context, Nk),
    nonce: labeledExpand(hpkeSuite, prk, 'base_nonce', context, Nn),
  };
}

function labeledExtract(suite: Buffer, salt: Buffer, label: string, ikm: Buffer): Buffer {
  // RFC 5869 §2.2: an absent salt is a string of zeros; HMAC pads an empty key to the same
  return createHmac('sha256', salt).update(version).update(suite).update(label).update(ikm).digest();
}

function labeledExpand(suite: Buffer, prk: Buffer, label: string, info: Buffer, length: number): Buffer {
  // one block of HKDF-Expand is enough: no length here exceeds SHA-256's 32 bytes
  const labeled = Buffer.concat([i2osp(length), version, suite, Buffer.from(label), info, Buffer.from([1])]);
  return createHmac('sha256', prk).update(labeled).digest().subarray(0, length);
}

/** §2: a two-byte big-endian integer */
function i2osp(value: number): Buffer {
  return Buffer.from([value >> 8, value & 0xff]);
}

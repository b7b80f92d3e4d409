import { type Encoding, writePayload } from './encoding.ts';
import { type Problem, problem, rejectionFields, shortRejection } from './problems.ts';

/*
 * The time for a device whose clock is unset, and which can therefore judge no certificate by its dates. It asks with a number that it
 * has just drawn (a nonce) and gets the time with a signature over both, by a key that it has pinned: as in Roughtime
 * (draft-ietf-ntp-roughtime), with one P-256 signature in place of a tree and a delegation. No serial and no token belong to it.
 */

const prefix = 'cvm/time/';

export const timeTopic = (nonce: string): string => prefix + nonce;

/**
 * The same for every nonce, since the broker keeps the filters that a connection subscribed to: with a nonce in it, a stranger could
 * make it keep thousands. "reply" is too short for a nonce.
 */
export const timeReplyTopic = 'cvm/time/reply';

/** For error messages, as `Dialect.topics`. */
export const timeTopics = 'cvm/time/<nonce>';

/** The nonce that a question for the time names, unchecked; undefined when the topic is none. */
export function nonceOfTime(topic: string): string | undefined {
  if (!topic.startsWith(prefix)) return undefined;
  const level = topic.slice(prefix.length);
  return level.includes('/') ? undefined : level;
}

/**
 * The text of the nonce is signed as it stands and never decoded, so hex needs no case of its own: its characters are base64url, too. A nonce has
 * at least 8 bytes: an attacker who guesses a nonce can get the answer to it in advance, and give this old answer to the device later.
 */
export const isNonce = (text: string): boolean => /^[A-Za-z0-9_-]{11,64}$/.test(text);
export const nonceRule =
  'a nonce has 11 to 64 of the characters A-Z a-z 0-9 - _: send 8 to 32 random bytes in hex or base64url, and new ones in each question';

/** Only signatures of the time begin with these bytes, so no other signature of the gateway passes for one. */
const purpose = 'cvm-gateway time v1';

/**
 * The bytes that are signed: the purpose and the nonce in ASCII, then the time as 8 bytes, most significant first. First and last part have a fixed
 * length, so no two pairs of nonce and time make the same bytes.
 * @param seconds epoch seconds
 */
export function signedTimeBytes(nonce: string, seconds: number): Buffer {
  const time = Buffer.alloc(8);
  time.writeBigUInt64BE(BigInt(seconds));
  return Buffer.concat([Buffer.from(purpose + nonce, 'ascii'), time]);
}

/**
 * In CBOR the whole packet fits 128 bytes.
 * @param seconds epoch seconds
 * @param signature ECDSA with P-256 and SHA-256, as DER (Ecdsa-Sig-Value, RFC 3279 §2.2.3): base64 in JSON, bytes in CBOR
 */
export function encodeTime(seconds: number, signature: Buffer, encoding: Encoding): Buffer {
  const written = encoding === 'json' ? signature.toString('base64') : signature;
  return writePayload({ status: 'accepted', time: seconds, sig: written }, encoding);
}

/** @param room bytes of a payload @returns undefined where not even the code fits */
export function encodeTimeRefusal(reason: Problem, encoding: Encoding, room: number): Buffer | undefined {
  const write = (short: Problem) => writePayload({ status: 'rejected', ...rejectionFields(short) }, encoding);
  return shortRejection(reason, room, write);
}

/** Why the time is not told to a device whose packets are too small for it. The number first: the rest may be cut. */
export const timeTooLong = (packet: number): Problem =>
  problem(
    'InvalidRequest',
    `${packet} bytes are needed in a packet for the time: take larger ones; in CBOR it is shorter`,
  );

import { hkdfSync } from 'node:crypto';
import type { Answer, Credentials, RegisteredThing } from '../protocol/answer.ts';
import { type Problem, problems } from '../protocol/problems.ts';
import { earlierPrivateKey, type WithEarlierKey } from './earlier-reply.ts';
import { deriveKeyPair, type KeyPair, open, seal } from './hpke.ts';

/**
 * Answers wait in Redis, sealed to a key pair that is derived from the device's token. Redis holds no key that opens them. A
 * gateway for which the device was enrolled can derive the pair too: it holds the device's reply seed, sealed to its own key
 * (`device-keys.ts`). The broker derives the pair when the device presents its token, and the request carries the public half. The broker that
 * the device talks to later, any broker, opens the answer with the private half. Opening proves the token: a connection that
 * presented a wrong one holds a key that opens nothing.
 */
export type ReplyKeys = { /** X25519, base64url */ readonly publicKey: string; readonly pair: KeyPair };

const info = Buffer.from('cvm-gateway reply v1');
const privateKeyInfo = Buffer.from('cvm-gateway private key v1');
const keyInfo = 'cvm-gateway reply key v1';

/** The key pair of a token. */
export function deriveReplyKeys(serial: string, token: string): ReplyKeys {
  const seed = deriveReplySeed(serial, token);
  try {
    return replyKeysOf(seed);
  } finally {
    seed.fill(0);
  }
}

/** 32 bytes that only the token yields. The serial is the salt: the same token at two devices yields two seeds. */
export function deriveReplySeed(serial: string, token: string): Buffer {
  return Buffer.from(hkdfSync('sha256', token, serial, keyInfo, 32));
}

export function replyKeysOf(seed: Buffer): ReplyKeys {
  const pair = deriveKeyPair(seed);
  return { publicKey: pair.publicKey.toString('base64url'), pair };
}

/** Seals to the holder of a token. The recipientId is bound in: an answer cannot be passed off as another recipient's. */
export type Sealer = {
  /**
   * A private key, before there is a certificate for it: from then on the worker cannot read it.
   * @param publicKey of the token, as in `ReplyKeys`
   */
  privateKey(publicKey: string, recipientId: string, privateKeyPem: string): string;
  /** @param sealedKey the private key that goes with the answer, as `privateKey` sealed it */
  answer(publicKey: string, recipientId: string, answer: Answer, sealedKey?: string): string;
  /** An answer whose private key is in a reply of version 0.1.0, which the worker cannot open. */
  withEarlierKey(publicKey: string, recipientId: string, answer: WithEarlierKey): string;
};

export const sealer: Sealer = {
  privateKey: (publicKey, recipientId, privateKeyPem) => sealed(publicKey, privateKeyInfo, recipientId, privateKeyPem),
  answer: (publicKey, recipientId, answer, sealedKey) =>
    sealed(publicKey, info, recipientId, JSON.stringify(toStored(answer, sealedKey))),
  withEarlierKey: (publicKey, recipientId, withEarlierKey) =>
    sealed(publicKey, info, recipientId, JSON.stringify({ withEarlierKey } satisfies StoredAnswer)),
};

/** The answer, or undefined when it was not sealed to these keys and this recipientId. */
export function openAnswer(keys: ReplyKeys, recipientId: string, text: string): Answer | undefined {
  try {
    const stored = JSON.parse(opened(keys, info, recipientId, text)) as StoredAnswer;
    if (stored.withEarlierKey !== undefined) return completed(keys, recipientId, stored.withEarlierKey);
    const answer = fromStored(stored);
    if (stored.sealedKey === undefined || answer?.status !== 'accepted') return answer;
    const privateKeyPem = opened(keys, privateKeyInfo, recipientId, stored.sealedKey);
    return { status: 'accepted', credentials: { ...answer.credentials, privateKeyPem } };
  } catch {
    return undefined;
  }
}

/** The device has proved its token, so it hears where its private key is lost. */
function completed(keys: ReplyKeys, recipientId: string, answer: WithEarlierKey): Answer {
  const privateKeyPem = earlierPrivateKey(answer, {
    answer: (text) => opened(keys, info, recipientId, text),
    privateKey: (text) => opened(keys, privateKeyInfo, recipientId, text),
  });
  return privateKeyPem === undefined
    ? { status: 'rejected', problem: problems.answerLost }
    : { status: 'accepted', credentials: { ...answer.credentials, privateKeyPem } };
}

/**
 * An answer as it lies in Redis. A kept reply lives for the replay window, across upgrades, and workers and brokers
 * of two versions run side by side during one: so the spelling of 0.1.0 stays, and is known here only.
 */
type StoredAnswer = {
  readonly accepted?: Credentials;
  readonly rejected?: Problem;
  readonly registered?: RegisteredThing;
  readonly pending?: Omit<Extract<Answer, { status: 'pending' }>, 'status'>;
  readonly sealedKey?: string;
  /** alone: a broker that does not know it must not hand out a certificate without its key */
  readonly withEarlierKey?: WithEarlierKey;
};

function toStored(answer: Answer, sealedKey: string | undefined): StoredAnswer {
  if (answer.status === 'rejected') return { rejected: answer.problem };
  if (answer.status === 'accepted')
    return { accepted: answer.credentials, ...(sealedKey === undefined ? {} : { sealedKey }) };
  const { status, ...rest } = answer;
  return 'position' in rest ? { pending: rest } : { registered: rest };
}

function fromStored({ accepted, rejected, registered, pending }: StoredAnswer): Answer | undefined {
  if (accepted !== undefined) return { status: 'accepted', credentials: accepted };
  if (rejected !== undefined) return { status: 'rejected', problem: rejected };
  if (registered !== undefined) return { status: 'registered', ...registered };
  return pending && { status: 'pending', ...pending };
}

function sealed(publicKey: string, use: Buffer, recipientId: string, text: string): string {
  return seal(Buffer.from(publicKey, 'base64url'), use, Buffer.from(recipientId), Buffer.from(text)).toString(
    'base64url',
  );
}

/** @throws when it was sealed to other keys, for another use or to another recipientId */
function opened(keys: ReplyKeys, use: Buffer, recipientId: string, text: string): string {
  return open(keys.pair, use, Buffer.from(recipientId), Buffer.from(text, 'base64url')).toString('utf8');
}

import { describe, expect, it } from 'vitest';
import { problems } from '../../protocol/problems.ts';
import { hashToken } from '../../protocol/token.ts';
import { boxOf } from '../../queue/ask.ts';
import { deriveReplyKeys, openAnswer, sealer } from '../../sealing/replies.ts';

const [serial, token] = ['SN-1', 'correct-horse-battery-staple'];
const box = boxOf(serial, hashToken(token));
const answer = { rejected: problems.blocked };

describe('a sealed answer', () => {
  const keys = deriveReplyKeys(serial, token);
  const sealed = sealer.answer(keys.publicKey, box, answer);

  it('opens again from the token alone, at any broker', () => {
    expect(openAnswer(deriveReplyKeys(serial, token), box, sealed)).toEqual(answer);
  });

  it('does not open with another token', () => {
    expect(openAnswer(deriveReplyKeys(serial, `${token}!`), box, sealed)).toBeUndefined();
  });

  it('does not open for another serial with the same token', () => {
    expect(openAnswer(deriveReplyKeys('SN-2', token), box, sealed)).toBeUndefined();
  });

  it('cannot be passed off as the answer of another box', () => {
    expect(openAnswer(keys, boxOf('SN-2', hashToken(token)), sealed)).toBeUndefined();
  });

  it('shows nothing of what it holds', () => {
    expect(Buffer.from(sealed, 'base64url').includes('blocked')).toBe(false);
  });

  it('carries a private key that was sealed before there was an answer, for the holder of the token alone', () => {
    const credentials = { certificateId: 'c', certificatePem: 'P', thingName: serial, endpoint: 'e', rootCaPem: 'R' };
    const sealedKey = sealer.privateKey(keys.publicKey, box, 'PRIVATE');
    const both = sealer.answer(keys.publicKey, box, { accepted: credentials }, sealedKey);
    expect(openAnswer(keys, box, both)).toEqual({ accepted: { ...credentials, privateKeyPem: 'PRIVATE' } });
    expect(openAnswer(deriveReplyKeys(serial, 'x'), box, both)).toBeUndefined();
    const foreign = sealer.privateKey(keys.publicKey, boxOf('SN-2', hashToken(token)), 'PRIVATE');
    expect(
      openAnswer(keys, box, sealer.answer(keys.publicKey, box, { accepted: credentials }, foreign)),
    ).toBeUndefined();
    // a sealed key is not an answer
    expect(openAnswer(keys, box, sealedKey)).toBeUndefined();
  });

  it('is different each time', () => {
    expect(sealer.answer(keys.publicKey, box, answer)).not.toBe(sealed);
  });
});

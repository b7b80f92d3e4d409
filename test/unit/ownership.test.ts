import fc from 'fast-check';
import { expect, it } from 'vitest';
import { makeOwnershipToken, readOwnershipToken } from '../../sealing/ownership.ts';
import { deriveReplyKeys } from '../../sealing/replies.ts';

const [certificateId, endsAt] = ['0123456789abcdef'.repeat(4), 1_800_000_000_000];
const keys = deriveReplyKeys('SN-1', 'correct-horse-battery-staple');
const token = makeOwnershipToken(keys, certificateId, endsAt);

it('a certificate ownership token names its certificate and its end to the device that holds the registration token', () => {
  expect(readOwnershipToken(keys, token)).toEqual({ certificateId, endsAt });
  // of any broker, and after any restart
  expect(readOwnershipToken(deriveReplyKeys('SN-1', 'correct-horse-battery-staple'), token)).toEqual({
    certificateId,
    endsAt,
  });
  expect(token).toMatch(/^[\w-]{92}$/);
});

it('it is nothing to another device, to another registration token, and to another device with the same token', () => {
  for (const [serial, secret] of [
    ['SN-2', 'the-token-of-another-device'],
    ['SN-1', 'the-token-after-a-reissue'],
    ['SN-2', 'correct-horse-battery-staple'],
  ] as const)
    expect(readOwnershipToken(deriveReplyKeys(serial, secret), token)).toBeUndefined();
});

it('it is nothing when any bit of it was changed, and no other text is one', () => {
  const raw = Buffer.from(token, 'base64url');
  fc.assert(
    fc.property(fc.nat(raw.length * 8 - 1), (bit) => {
      const changed = Buffer.from(raw);
      changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(readOwnershipToken(keys, changed.toString('base64url'))).toBeUndefined();
    }),
  );
  fc.assert(fc.property(fc.string(), (text) => readOwnershipToken(keys, text) === undefined));
});

import { describe, expect, it } from 'vitest';
import type { Answer } from '../../protocol/answer.ts';
import { problems } from '../../protocol/problems.ts';
import { derivePsk } from '../../protocol/psk.ts';
import { hashToken } from '../../protocol/token.ts';
import { recipientIdOf } from '../../queue/provisioning-request.ts';
import { earlierGatewayIdOf, openDeviceKeys } from '../../sealing/device-keys.ts';
import { deriveKeyPair, open as hpkeOpen, seal as hpkeSeal } from '../../sealing/hpke.ts';
import { deriveReplyKeys, openAnswer, replyKeysOf, sealer } from '../../sealing/replies.ts';

const [serial, token] = ['SN-1', 'correct-horse-battery-staple'];
const recipientId = recipientIdOf(serial, hashToken(token));
const answer = { status: 'rejected', problem: problems.blocked } as const;

describe('a sealed answer', () => {
  const keys = deriveReplyKeys(serial, token);
  const sealed = sealer.answer(keys.publicKey, recipientId, answer);

  it('opens again from the token alone, at any broker', () => {
    expect(openAnswer(deriveReplyKeys(serial, token), recipientId, sealed)).toEqual(answer);
  });

  it('does not open with another token', () => {
    expect(openAnswer(deriveReplyKeys(serial, `${token}!`), recipientId, sealed)).toBeUndefined();
  });

  it('does not open for another serial with the same token', () => {
    expect(openAnswer(deriveReplyKeys('SN-2', token), recipientId, sealed)).toBeUndefined();
  });

  it('cannot be passed off as the answer to another recipient', () => {
    expect(openAnswer(keys, recipientIdOf('SN-2', hashToken(token)), sealed)).toBeUndefined();
  });

  it('shows nothing of what it holds', () => {
    expect(Buffer.from(sealed, 'base64url').includes('blocked')).toBe(false);
  });

  it('carries a private key that was sealed before there was an answer, for the holder of the token alone', () => {
    const credentials = { certificateId: 'c', certificatePem: 'P', thingName: serial, endpoint: 'e', rootCaPem: 'R' };
    const accepted = { status: 'accepted', credentials } as const;
    const sealedKey = sealer.privateKey(keys.publicKey, recipientId, 'PRIVATE');
    const both = sealer.answer(keys.publicKey, recipientId, accepted, sealedKey);
    expect(openAnswer(keys, recipientId, both)).toEqual({
      status: 'accepted',
      credentials: { ...credentials, privateKeyPem: 'PRIVATE' },
    });
    expect(openAnswer(deriveReplyKeys(serial, 'x'), recipientId, both)).toBeUndefined();
    const foreign = sealer.privateKey(keys.publicKey, recipientIdOf('SN-2', hashToken(token)), 'PRIVATE');
    expect(
      openAnswer(keys, recipientId, sealer.answer(keys.publicKey, recipientId, accepted, foreign)),
    ).toBeUndefined();
    // a sealed key is not an answer
    expect(openAnswer(keys, recipientId, sealedKey)).toBeUndefined();
  });

  it('is different each time', () => {
    expect(sealer.answer(keys.publicKey, recipientId, answer)).not.toBe(sealed);
  });
});

/** Made by version 0.1.0, for the token above; the gateway's key is `deriveKeyPair` of 32 bytes of 3. */
const earlier = {
  publicKey: '6M3nt8f6cVE5XezmBBWFt9NVQd4zIC2nTm4MmDp1XCk',
  answer:
    'us2otDqYPbfv3G9oDuRYdvt2sH-3JPu8gbdIXxGoN0VZQoYGvCDNpuLGvM4LKoqzKj3g362XCtzX3nG036BrF_azfKVUODJpaDjb5AOk3plAe098rqBsM1JhJj8g3SoP4_g2KpTmzfGKxP7tJHIvLxG075Bk-i06e7nFFeKqIhd8-TavTXKEYSNujjdiUaop1hshLgtBdJXqJ3QZxWVxMZfupMWeTt5ZBiuueN-LBET6uLIDRppkPpi4WQCdF2CSe7J56NSyhCNuiBDT5EB9BH3oVEtx-UVXVc5Pzce8nhgXXrZk5-0eH2xDcergwSLVxLk',
  gateway: '77b54bd53e9da7c2',
  deviceKeys:
    '4sPC9MPHwrEIGEsHrNYxJk3SO_IH12NGYeihexwGaR1E8qNROQFxcn7aEU5YaLKfOmnkbiZxGNVsMcLLSHOLz-NhrD5UqePgkM9yZL8c0rI43rGVeJWPZzksVW-OnOXj9nsZUVZEDmx9UKz-PT9I8w',
};

describe('a sealed answer in Redis', () => {
  const keys = deriveReplyKeys(serial, token);
  const credentials = { certificateId: 'c', certificatePem: 'P', thingName: serial, endpoint: 'e', rootCaPem: 'R' };
  const seal = (stored: object) =>
    hpkeSeal(
      Buffer.from(keys.publicKey, 'base64url'),
      Buffer.from('cvm-gateway reply v1'),
      Buffer.from(recipientId),
      Buffer.from(JSON.stringify(stored)),
    ).toString('base64url');
  const unseal = (sealed: string) =>
    JSON.parse(
      hpkeOpen(
        keys.pair,
        Buffer.from('cvm-gateway reply v1'),
        Buffer.from(recipientId),
        Buffer.from(sealed, 'base64url'),
      ).toString(),
    );
  const pending = { position: 3, etaSeconds: 40, retryAfterSeconds: 60 };

  it.each<[string, object, Answer]>([
    ['accepted', { accepted: credentials }, { status: 'accepted', credentials }],
    ['rejected', { rejected: problems.blocked }, { status: 'rejected', problem: problems.blocked }],
    ['pending', { pending }, { status: 'pending', ...pending }],
  ])('keeps the spelling of version 0.1.0, so that other versions read it: %s', (_status, stored, answer) => {
    expect(openAnswer(keys, recipientId, seal(stored))).toEqual(answer);
    expect(unseal(sealer.answer(keys.publicKey, recipientId, answer))).toEqual(stored);
  });

  it('is not read when it says nothing that this version knows', () => {
    expect(openAnswer(keys, recipientId, seal({ postponed: {} }))).toBeUndefined();
  });
});

describe('what an earlier version sealed', () => {
  it('opens: a reply that waits, with its private key', () => {
    const keys = deriveReplyKeys(serial, token);
    expect(keys.publicKey).toBe(earlier.publicKey);
    expect(openAnswer(keys, recipientId, earlier.answer)).toMatchObject({
      status: 'accepted',
      credentials: { thingName: serial, privateKeyPem: 'PRIVATE' },
    });
  });

  it("opens: a device's keys in the table", () => {
    const pair = deriveKeyPair(Buffer.alloc(32, 3));
    expect(earlierGatewayIdOf(pair.publicKey)).toBe(earlier.gateway);
    const keys = openDeviceKeys(pair, serial, hashToken(token), Buffer.from(earlier.deviceKeys, 'base64url'));
    expect(keys?.psk).toEqual(derivePsk(serial, token));
    expect(keys && replyKeysOf(keys.replySeed).publicKey).toBe(earlier.publicKey);
  });

  it('is text of the alphabet for URLs, and a rejection has no private key', () => {
    const keys = deriveReplyKeys(serial, token);
    expect(sealer.answer(keys.publicKey, recipientId, answer)).toMatch(/^[\w-]{60,}$/);
    const withKey = sealer.answer(
      keys.publicKey,
      recipientId,
      answer,
      sealer.privateKey(keys.publicKey, recipientId, 'P'),
    );
    expect(openAnswer(keys, recipientId, withKey)).toEqual(answer);
  });
});

import { describe, expect, it, vi } from 'vitest';
import { derivePsk } from '../../protocol/psk.ts';
import { hashToken } from '../../protocol/token.ts';
import { openDeviceKeys, sealDeviceKeys } from '../../sealing/device-keys.ts';
import { ownGateway } from '../../sealing/gateway.ts';
import { newKeyPair } from '../../sealing/hpke.ts';
import { deriveReplyKeys, replyKeysOf } from '../../sealing/replies.ts';

const [serial, token] = ['SN-1', 'correct-horse-battery-staple'];
const [one, two] = [newKeyPair(), newKeyPair()];
const gateways = [one, two].map((pair) => ownGateway(pair).identity);
const sealed = sealDeviceKeys(serial, token, gateways);
const sealedTo = (index: number) => Buffer.from(sealed[gateways[index]?.id ?? ''] ?? '', 'base64url');

describe("a device's keys", () => {
  it('open at each gateway that they were sealed to, and are those of the token', () => {
    for (const [index, pair] of [one, two].entries()) {
      const keys = openDeviceKeys(pair, serial, hashToken(token), sealedTo(index));
      expect(keys?.psk).toEqual(derivePsk(serial, token));
      expect(keys && replyKeysOf(keys.replySeed).publicKey).toBe(deriveReplyKeys(serial, token).publicKey);
    }
  });

  it('do not open at another gateway, for another serial, or with the hash of another token', () => {
    expect(openDeviceKeys(two, serial, hashToken(token), sealedTo(0))).toBeUndefined();
    expect(openDeviceKeys(one, 'SN-2', hashToken(token), sealedTo(0))).toBeUndefined();
    expect(openDeviceKeys(one, serial, hashToken(`${token}!`), sealedTo(0))).toBeUndefined();
    expect(openDeviceKeys(one, serial, hashToken(token), Buffer.alloc(0))).toBeUndefined();
  });

  it('are different for each device and token, and show nothing of themselves', () => {
    expect(derivePsk(serial, token)).not.toEqual(derivePsk('SN-2', token));
    expect(derivePsk(serial, token)).not.toEqual(derivePsk(serial, `${token}!`));
    expect(derivePsk(serial, token)).not.toEqual(deriveReplyKeys(serial, token).publicKey);
    expect(sealedTo(0).includes(derivePsk(serial, token))).toBe(false);
    expect(sealedTo(0)).toHaveLength(112);
  });

  it('do not stay in the buffer that they were sealed from', () => {
    const joined = vi.spyOn(Buffer, 'concat');
    try {
      sealDeviceKeys(serial, token, gateways);
      // psk and seed, before they are sealed
      const [plain] = joined.mock.results.map(({ value }) => value as Buffer).filter(({ length }) => length === 64);
      expect(plain).toEqual(Buffer.alloc(64));
    } finally {
      joined.mockRestore();
    }
  });
});

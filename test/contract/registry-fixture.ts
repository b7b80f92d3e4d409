import { expect } from 'vitest';
import { hashToken } from '../../protocol/token.ts';
import type { Claim, ClaimRequest } from '../../registry/attempts.ts';
import type { AttemptRef, Device } from '../../registry/device.ts';
import type { Registry } from '../../registry/registry.ts';

export const keptReply = Buffer.from('sealed').toString('base64url');
export const [tokenHash, now, leaseMs] = [hashToken('the-right-token-of-the-device'), 1_700_000_000_000, 10_000];

export type RegistryFixture = ReturnType<typeof createRegistryFixture>;

/** Without the time of the store, which the memory has not. */
export function unstamped({ changedAt: _ofTheStore, ...device }: Device): Omit<Device, 'changedAt'> {
  return device;
}

/** What the suites of the registry share. @param open the registry, which is opened after the suites are described */
export function createRegistryFixture(open: () => Registry) {
  const registry = new Proxy({} as Registry, { get: (_none, method) => open()[method as keyof Registry] });
  const claimIds = new Map<string, string | undefined>();
  let count = 0;

  async function fresh(extra: object = {}, serial = `SN:${++count}`): Promise<string> {
    expect(await registry.enrol({ serial, tokenHash, enrolledAt: now, ...extra })).toBe(true);
    return serial;
  }
  async function found(serial: string): Promise<Device> {
    const device = await registry.find(serial);
    if (device === undefined) throw new Error(`${serial} is not there`);
    return device;
  }
  async function claim(serial: string, change: Partial<ClaimRequest> = {}): Promise<Claim> {
    const claimed = await registry.claim({ serial, tokenHash, now, leaseMs, ...change });
    if (claimed.outcome === 'claimed') claimIds.set(`${serial} ${claimed.device.attempt}`, claimed.device.claimId);
    return claimed;
  }
  /** An attempt that was claimed before. */
  const at = (serial: string, attempt: number): AttemptRef => ({
    serial,
    claimId: claimIds.get(`${serial} ${attempt}`) ?? 'none',
  });
  async function registered(): Promise<Device> {
    const serial = await fresh();
    await claim(serial);
    await registry.recordCertificate(at(serial, 1), { certificateId: 'c', keptReply, keyDigest: `key of ${serial}` });
    await registry.finish(at(serial, 1), 'c', now);
    return found(serial);
  }
  /** As a row of an earlier version: the reply is not in it. */
  async function withoutReply(): Promise<Device> {
    const device = await registered();
    expect(await registry.eraseKeptReply(device)).toBe(true);
    return found(device.serial);
  }
  return { registry, fresh, found, claim, at, registered, withoutReply };
}

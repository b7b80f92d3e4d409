import { beforeEach, describe, expect, it } from 'vitest';
import { block, remove } from '../../operator/decisions.ts';
import { type DeviceView, listDevices, showDevice, viewOf } from '../../operator/view.ts';
import type { Device } from '../../registry/device.ts';
import { createMemoryOperator, type MemoryOperator } from '../support/operator.ts';

describe('what an operator sees of a device', () => {
  let operator: MemoryOperator;
  beforeEach(() => {
    operator = createMemoryOperator();
  });

  it('is everything in its row but the hash of the token and the keys derived from it', () => {
    const secret = 'SECRET';
    const device: Required<Omit<Device, 'tokenForm'>> = {
      serial: 'A',
      tokenHash: `sha256:${secret}`,
      state: 'registered',
      requestedAt: 1,
      enrolledAt: 2,
      site: 'berlin',
      changedAt: 10,
      attempt: 3,
      leaseUntil: 4,
      claimedBy: 'request',
      certificateId: 'now',
      previousCertificateId: 'before',
      keyDigest: 'digest',
      template: { name: 'pump', digest: secret },
      issuedAt: 5,
      deliveredAt: 6,
      tokenExpiresAt: 7,
      sealedKeys: { gateway: secret },
      policyName: 'p',
      thingTypeName: 't',
      thingGroupName: 'g',
      claimGroup: 'pumps',
      createIntents: ['8 claim-3 '],
      numberedIntents: { 3: { at: 8 } },
      ownKey: { csrPem: secret, keyDigest: 'digest', sealedKey: secret },
      pendingDeletion: ['old'],
      deleted: ['older'],
      removal: 'with-thing',
      claimId: 'claim',
      keptReply: secret,
      mayHaveOthers: true,
      seenAt: 8,
      lookedAt: 11,
      removedAt: 9,
      forgetAt: 12,
    };
    expect(JSON.stringify(viewOf(device))).not.toContain(secret);
    expect(viewOf(device)).toEqual({
      serial: 'A',
      state: 'being-removed',
      applyState: -1,
      site: 'berlin',
      certificateId: 'now',
      template: 'pump',
      previousCertificateId: 'before',
      pendingDeletion: ['old'],
      createCallsWithoutAnswer: 2,
      enrolledAt: '1970-01-01T00:00:00.002Z',
      requestedAt: '1970-01-01T00:00:00.001Z',
      issuedAt: '1970-01-01T00:00:00.005Z',
      deliveredAt: '1970-01-01T00:00:00.006Z',
      seenAt: '1970-01-01T00:00:00.008Z',
      lookedAt: '1970-01-01T00:00:00.011Z',
      tokenExpiresAt: '1970-01-01T00:00:00.007Z',
      policyName: 'p',
      thingTypeName: 't',
      thingGroupName: 'g',
      claimGroup: 'pumps',
      pskGateways: ['gateway'],
      revision: 3,
    });
  });

  it('has no key for what the row does not have, and no time that has not come yet', () => {
    const device: Device = { serial: 'A', tokenHash: '', state: 'enrolled', requestedAt: 0, enrolledAt: 0, attempt: 0 };
    expect(Object.keys(viewOf(device))).toEqual(['serial', 'state', 'applyState', 'revision']);
  });

  it('shows a number that is no time as it is: one row must not end a list', () => {
    const device: Device = {
      serial: 'A',
      tokenHash: '',
      state: 'enrolled',
      requestedAt: 0,
      enrolledAt: 1e300,
      attempt: 0,
    };
    expect(viewOf({ ...device, tokenExpiresAt: 9e15 })).toMatchObject({
      enrolledAt: '1e+300',
      tokenExpiresAt: '9000000000000000',
    });
  });

  it('is there for a device that is enrolled, and only for such', async () => {
    const certificateId = await operator.register('A');
    expect(await showDevice('A', operator.deps)).toMatchObject({ outcome: 'found', device: { certificateId } });
    expect(await showDevice('B', operator.deps)).toEqual({ outcome: 'not-enrolled' });
  });

  it('is listed for all devices, or for those in one state', async () => {
    for (const serial of ['A', 'B', 'C']) await operator.register(serial);
    await operator.loseAnswer('D');
    await block('B', operator.deps);
    await remove('D', 'with-thing', operator.deps);
    const listed = async (state?: DeviceView['state']) => {
      const serials: string[] = [];
      for await (const { serial } of listDevices({ state }, operator.deps)) serials.push(serial);
      return serials;
    };
    expect(await listed()).toEqual(['A', 'B', 'C', 'D']);
    expect(await listed('registered')).toEqual(['A', 'C']);
    expect(await listed('blocked')).toEqual(['B']);
    expect(await listed('being-removed')).toEqual(['D']);
    expect(await listed('enrolled')).toEqual([]);
  });
});

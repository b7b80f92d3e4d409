import { beforeEach, describe, expect, it } from 'vitest';
import { block, remove, unblock } from '../../operator/decisions.ts';
import type { OperatorDeps } from '../../operator/deps.ts';
import { forgetGateway } from '../../operator/gateways.ts';
import { reissue } from '../../operator/reissue.ts';
import type { Device } from '../../registry/device.ts';
import { UpstreamRefused } from '../../runtime/upstream.ts';
import { createMemoryOperator, type MemoryOperator, now } from '../support/operator.ts';

const away = async () => {
  throw new Error('AWS is away');
};

describe('a decision of the operator', () => {
  let operator: MemoryOperator;
  /** the same operator while every change of a certificate fails */
  let withoutAws: OperatorDeps;
  beforeEach(() => {
    operator = createMemoryOperator();
    const issuer = { ...operator.deps.issuer, activate: away, deactivate: away, withdraw: away };
    withoutAws = { ...operator.deps, issuer };
  });

  describe('to block a device', () => {
    it('refuses it every certificate and makes its certificate inactive; repeating it changes nothing', async () => {
      const certificateId = await operator.register('A');
      for (const _twice of [1, 2]) {
        expect(await block('A', operator.deps)).toEqual({ outcome: 'blocked' });
        expect(operator.row('A')).toMatchObject({ state: 'blocked' });
        expect(operator.certificate(certificateId)).toMatchObject({ active: false });
      }
    });

    it('tells the gateways, so that its connections lose their slots; not being able to is no failure of the block', async () => {
      await operator.register('A');
      await block('A', operator.deps);
      await unblock('A', operator.deps);
      expect(operator.announced).toEqual([['A'], ['A']]);
      expect(await block('A', { ...operator.deps, announce: away })).toEqual({
        outcome: 'blocked',
        unannounced: 'AWS is away',
      });
    });

    it('makes the previous certificate of a reissued device inactive as well', async () => {
      const certificateId = await operator.register('A');
      await reissue('A', { onToken: () => {} }, operator.deps);
      expect(await block('A', operator.deps)).toEqual({ outcome: 'blocked' });
      expect(operator.certificate(certificateId)).toMatchObject({ active: false });
    });

    it('stands and is on record when AWS fails; the outcome says that it is unfinished, and repeating finishes it', async () => {
      const certificateId = await operator.register('A');
      expect(await block('A', withoutAws)).toEqual({ outcome: 'blocked', unfinished: 'AWS is away' });
      expect(operator.row('A')).toMatchObject({ state: 'blocked' });
      expect(operator.events).toEqual(['blocked A']);
      expect(await block('A', operator.deps)).toEqual({ outcome: 'blocked' });
      expect(operator.certificate(certificateId)).toMatchObject({ active: false });
    });
  });

  describe('to unblock a device', () => {
    it('makes its certificate active again; repeating it changes nothing', async () => {
      const certificateId = await operator.register('A');
      await block('A', operator.deps);
      for (const _twice of [1, 2]) {
        expect(await unblock('A', operator.deps)).toEqual({ outcome: 'unblocked' });
        expect(operator.row('A')).toMatchObject({ state: 'registered' });
        expect(operator.certificate(certificateId)).toMatchObject({ active: true });
      }
    });

    it('names the cure when AWS refuses a call', async () => {
      await operator.register('A');
      await block('A', operator.deps);
      const refuse = async () => {
        throw new UpstreamRefused('iot:UpdateCertificate', new Error('denied'), 'allow iot:UpdateCertificate');
      };
      const deps = { ...operator.deps, issuer: { ...operator.deps.issuer, activate: refuse } };
      expect(await unblock('A', deps)).toMatchObject({ unfinished: expect.stringContaining('(allow iot:UpdateCert') });
    });

    it('says that the certificate is gone in AWS, also when repeated; nothing is unfinished', async () => {
      const certificateId = await operator.register('A');
      await block('A', operator.deps);
      operator.aws.cloud.certificates.delete(certificateId);
      for (const _twice of [1, 2])
        expect(await unblock('A', operator.deps)).toEqual({ outcome: 'unblocked', goneCertificate: certificateId });
    });

    it('does not miss a certificate that is being replaced already', async () => {
      const certificateId = await operator.register('A');
      await reissue('A', { onToken: () => {} }, operator.deps);
      await block('A', operator.deps);
      operator.aws.cloud.certificates.delete(certificateId);
      expect(await unblock('A', operator.deps)).toEqual({ outcome: 'unblocked' });
    });

    it('activates no certificate that never went live', async () => {
      const certificateId = await operator.leaveHalfDone('A');
      await block('A', operator.deps);
      expect(await unblock('A', operator.deps)).toEqual({ outcome: 'unblocked' });
      expect(operator.row('A')).toMatchObject({ state: 'enrolled' });
      expect(operator.certificate(certificateId)).toMatchObject({ active: false });
    });

    it('activates the previous certificate of a device that is being reissued', async () => {
      const certificateId = await operator.register('A');
      await reissue('A', { onToken: () => {} }, operator.deps);
      await block('A', operator.deps);
      await unblock('A', operator.deps);
      expect(operator.certificate(certificateId)).toMatchObject({ active: true });
    });

    it('stands and is on record when AWS fails; the outcome says that it is unfinished', async () => {
      await operator.register('A');
      await block('A', operator.deps);
      expect(await unblock('A', withoutAws)).toEqual({ outcome: 'unblocked', unfinished: 'AWS is away' });
      expect(operator.events).toEqual(['blocked A', 'unblocked A']);
    });

    it('does not bring back a device that is being removed', async () => {
      await operator.loseAnswer('A');
      await remove('A', 'with-thing', operator.deps);
      expect(await unblock('A', operator.deps)).toEqual({ outcome: 'being-removed' });
      expect(operator.row('A')).toMatchObject({ state: 'blocked' });
    });
  });

  describe('to remove a device', () => {
    it.each([
      ['with-thing', false],
      ['keep-thing', true],
    ] as const)('deletes its certificate and its row; %s', async (removal, kept) => {
      const certificateId = await operator.register('A');
      expect(await remove('A', removal, operator.deps)).toEqual({ outcome: 'removed', row: 'gone' });
      expect(operator.row('A')).toBeUndefined();
      expect(operator.certificate(certificateId)).toBeUndefined();
      expect(operator.aws.cloud.things.has('A')).toBe(kept);
      expect(operator.events).toEqual(['removed A']);
      expect(operator.announced).toEqual([['A']]);
    });

    it('goes by the latest choice about the thing when it is repeated', async () => {
      await operator.register('A');
      expect(await remove('A', 'with-thing', withoutAws)).toMatchObject({ unfinished: 'AWS is away' });
      expect(await remove('A', 'keep-thing', operator.deps)).toMatchObject({ row: 'gone' });
      expect(operator.aws.cloud.things.has('A')).toBe(true);
    });

    it('keeps the row while a create call without an answer may have left a certificate', async () => {
      await operator.loseAnswer('A');
      expect(await remove('A', 'with-thing', operator.deps)).toEqual({ outcome: 'removed', row: 'stays' });
      expect(operator.row('A')).toMatchObject({ state: 'blocked', removal: 'with-thing' });
    });

    it('stands when AWS fails; the outcome says that it is unfinished, and repeating finishes it', async () => {
      await operator.register('A');
      expect(await remove('A', 'with-thing', withoutAws)).toEqual({
        outcome: 'removed',
        row: 'stays',
        unfinished: 'AWS is away',
      });
      expect(operator.row('A')).toMatchObject({ state: 'blocked', removal: 'with-thing' });
      expect(await remove('A', 'with-thing', operator.deps)).toEqual({ outcome: 'removed', row: 'gone' });
      expect(operator.row('A')).toBeUndefined();
    });

    it('is carried out also when the gateways cannot be told, and the outcome says so', async () => {
      await operator.register('A');
      const deps = { ...operator.deps, announce: away };
      expect(await remove('A', 'with-thing', deps)).toEqual({
        outcome: 'removed',
        row: 'gone',
        unannounced: 'AWS is away',
      });
    });
  });

  it('does not wait for a lease that was written by a clock far ahead', async () => {
    await operator.beProvisioned('A');
    const device = operator.row('A');
    if (device !== undefined) operator.rows.set('A', { ...device, leaseUntil: now + 7_200_000 });
    expect(await remove('A', 'with-thing', operator.deps)).toMatchObject({ outcome: 'removed' });
  });

  it('to block a device ends the attempt that is under way, whatever its lease', async () => {
    await operator.beProvisioned('A');
    const attempt = operator.row('A') as Device;
    expect(await block('A', operator.deps)).toEqual({ outcome: 'blocked' });
    expect(operator.row('A')).toMatchObject({ state: 'blocked', attempt: 2 });
    expect(await operator.registry.recordCertificate(attempt, { certificateId: 'late', keptReply: 'late' })).toBe(
      'overtaken',
    );
  });

  /** The device asks between each reading and writing of its row. */
  function askedAllTheTime() {
    const { registry } = operator.deps;
    let changes = 0;
    return {
      ...registry,
      async find(serial: string) {
        const device = await registry.find(serial);
        if (device !== undefined && changes++ < 20)
          operator.rows.set(serial, { ...device, attempt: device.attempt + 1 });
        return device;
      },
    };
  }

  it('to block a device stands in the end, also while it asks all the time', async () => {
    await operator.register('A');
    expect(await block('A', { ...operator.deps, registry: askedAllTheTime() })).toEqual({ outcome: 'blocked' });
    expect(operator.events).toEqual(['blocked A']);
  });

  it.each<[string, (deps: OperatorDeps) => Promise<object>]>([
    ['remove', (deps) => remove('A', 'with-thing', deps, { ms: 0, force: true })],
    ['reissue', (deps) => reissue('A', { patience: { ms: 0, force: true }, onToken: () => {} }, deps)],
  ])(
    'to %s by force ends an attempt that is under way, also while the device asks all the time',
    async (_name, decide) => {
      await operator.beProvisioned('A');
      const attempt = operator.row('A') as Device;
      expect(await decide({ ...operator.deps, registry: askedAllTheTime() })).not.toHaveProperty('outcome', 'changed');
      expect(operator.events).toHaveLength(1);
      const late = { certificateId: 'late', keptReply: 'late' };
      expect(await operator.registry.recordCertificate(attempt, late)).toBe('overtaken');
    },
  );

  const decisions: [string, (deps: OperatorDeps) => Promise<object>][] = [
    ['block', (deps) => block('A', deps)],
    ['unblock', (deps) => unblock('A', deps)],
    ['remove', (deps) => remove('A', 'with-thing', deps)],
  ];

  it.each(decisions)('is refused for a device that is not enrolled: %s', async (_name, decide) => {
    expect(await decide(operator.deps)).toEqual({ outcome: 'not-enrolled' });
    expect(operator.events).toEqual([]);
  });

  it.each(decisions.filter(([name]) => name !== 'block'))(
    'is refused while a worker is at the device, until its lease is over: %s',
    async (_name, decide) => {
      await operator.beProvisioned('A');
      expect(await decide(operator.deps)).toEqual({ outcome: 'being-provisioned' });
      expect(operator.events).toEqual([]);
      expect(await decide({ ...operator.deps, now: () => now + 1 })).not.toHaveProperty('outcome', 'being-provisioned');
    },
  );

  it.each(decisions)('changes nothing when the device changed before it was written: %s', async (name, decide) => {
    await operator.register('A');
    if (name === 'unblock') await block('A', operator.deps);
    const lost = async () => false;
    const registry = { ...operator.deps.registry, block: lost, unblock: lost, retire: lost };
    const [row, calls, events] = [operator.row('A'), operator.aws.journal.length, [...operator.events]];
    expect(await decide({ ...operator.deps, registry })).toEqual({ outcome: 'changed' });
    expect(operator.row('A')).toEqual(row);
    expect(operator.aws.journal).toHaveLength(calls);
    expect(operator.events).toEqual(events);
  });

  it('to forget a gateway is carried out and recorded for a gateway that is known, and only then', async () => {
    const gateways = { forget: async (id: string) => id === 'stolen' };
    expect(await forgetGateway('stolen', { ...operator.deps, gateways })).toEqual({ outcome: 'forgotten' });
    expect(await forgetGateway('other', { ...operator.deps, gateways })).toEqual({ outcome: 'unknown' });
    expect(operator.events).toEqual(['gateway-forgotten stolen']);
  });
});

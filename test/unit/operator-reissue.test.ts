import { beforeEach, describe, expect, it } from 'vitest';
import { block, remove } from '../../operator/decisions.ts';
import type { OperatorDeps } from '../../operator/deps.ts';
import { enrol } from '../../operator/enrol.ts';
import { reissue } from '../../operator/reissue.ts';
import { hashToken } from '../../protocol/token.ts';
import { createMemoryOperator, type MemoryOperator, now } from '../support/operator.ts';

describe('reissuing a device', () => {
  let operator: MemoryOperator;
  let shown: string[];
  const onToken = (token: string) => void shown.push(token);
  const withIssuer = (withdraw: OperatorDeps['issuer']['withdraw']): OperatorDeps => ({
    ...operator.deps,
    issuer: { ...operator.deps.issuer, withdraw },
  });
  const away = async () => {
    throw new Error('AWS is away');
  };
  beforeEach(() => {
    operator = createMemoryOperator();
    shown = [];
  });

  it('gives it a new token with the lifetime that is asked for, and leaves the certificate in use as it is', async () => {
    const certificateId = await operator.register('A');
    const outcome = await reissue('A', { tokenLifetimeMs: 500, onToken }, operator.deps);
    expect(outcome).toEqual({ outcome: 'reissued', token: shown[0] });
    expect(operator.row('A')).toMatchObject({
      state: 'enrolled',
      tokenHash: hashToken(shown[0] ?? ''),
      tokenExpiresAt: now + 500,
      previousCertificateId: certificateId,
    });
    expect(operator.certificate(certificateId)).toMatchObject({ active: true });
    expect(operator.events).toEqual(['reissued A']);
    expect(operator.announced).toEqual([['A']]);
  });

  it('deletes a certificate that had not gone live', async () => {
    const certificateId = await operator.leaveHalfDone('A');
    expect(await reissue('A', { onToken }, operator.deps)).toMatchObject({ outcome: 'reissued' });
    expect(operator.certificate(certificateId)).toBeUndefined();
    expect(operator.row('A')).not.toHaveProperty('pendingDeletion');
  });

  it('shows the token as soon as it is valid and on record, before it calls AWS and tells the gateways', async () => {
    await operator.leaveHalfDone('A');
    const callsBefore = operator.aws.journal.length;
    let seen: unknown;
    const look = (token: string) => {
      const { tokenHash } = operator.row('A') ?? {};
      const calls = operator.aws.journal.length - callsBefore;
      seen = {
        valid: tokenHash === hashToken(token),
        events: [...operator.events],
        calls,
        told: operator.announced.length,
      };
    };
    await reissue('A', { onToken: look }, operator.deps);
    expect(seen).toEqual({ valid: true, events: ['reissued A'], calls: 0, told: 0 });
    expect(operator.aws.journal.length).toBeGreaterThan(callsBefore);
  });

  it('shows the token also when AWS never answers', async () => {
    await operator.leaveHalfDone('A');
    void reissue(
      'A',
      { onToken },
      withIssuer(() => new Promise(() => {})),
    );
    await expect.poll(() => shown).toHaveLength(1);
    expect(operator.row('A')).toMatchObject({ tokenHash: hashToken(shown[0] ?? '') });
  });

  it('says what is not finished when AWS fails after the token was shown; repeating it is safe', async () => {
    const certificateId = await operator.leaveHalfDone('A');
    const outcome = await reissue('A', { onToken }, withIssuer(away));
    expect(outcome).toEqual({ outcome: 'reissued', token: shown[0], unfinished: 'AWS is away' });
    expect(operator.announced).toEqual([['A']]);
    expect(operator.row('A')).toMatchObject({ pendingDeletion: [certificateId] });

    expect(await reissue('A', { onToken }, operator.deps)).toEqual({ outcome: 'reissued', token: shown[1] });
    expect(shown[1]).not.toBe(shown[0]);
    expect(operator.row('A')).toMatchObject({ tokenHash: hashToken(shown[1] ?? '') });
    expect(operator.certificate(certificateId)).toBeUndefined();
  });

  it('says what is not finished when the table fails after the token was shown', async () => {
    await operator.leaveHalfDone('A');
    let reads = 0;
    const find: OperatorDeps['registry']['find'] = async (serial) => {
      if (++reads > 1) throw new Error('the table is away');
      return operator.deps.registry.find(serial);
    };
    const deps = { ...operator.deps, registry: { ...operator.deps.registry, find } };
    expect(await reissue('A', { onToken }, deps)).toMatchObject({
      outcome: 'reissued',
      token: shown[0],
      unfinished: 'the table is away',
    });
  });

  it('says when the gateways could not be told, and deletes the half-done certificate nevertheless', async () => {
    const certificateId = await operator.leaveHalfDone('A');
    expect(await reissue('A', { onToken }, { ...operator.deps, announce: away })).toEqual({
      outcome: 'reissued',
      token: shown[0],
      unannounced: 'AWS is away',
    });
    expect(operator.certificate(certificateId)).toBeUndefined();
  });

  it('waits for a worker that is provisioning the device, says so once, and then makes the token', async () => {
    await operator.beProvisioned('A');
    let waits = 0;
    let time = operator.deps.now();
    const onWait = () => {
      waits++;
      setTimeout(() => {
        time += 10;
      }, 20);
    };
    const deps = { ...operator.deps, now: () => time };
    expect(await reissue('A', { onToken, patience: { ms: 5000, onWait } }, deps)).toMatchObject({
      outcome: 'reissued',
    });
    expect([waits, shown.length]).toEqual([1, 1]);
  });

  it.each<[string, (serial: string) => Promise<unknown>]>([
    ['not-enrolled', async () => {}],
    ['being-provisioned', (serial) => operator.beProvisioned(serial)],
    [
      'is-blocked',
      async (serial) => {
        await enrol([{ serial }], operator.deps);
        await block(serial, operator.deps);
      },
    ],
    [
      'being-removed',
      async (serial) => {
        await operator.loseAnswer(serial);
        await remove(serial, 'with-thing', operator.deps);
      },
    ],
  ])('makes no token for a device that is %s', async (outcome, prepare) => {
    await prepare('A');
    const row = operator.row('A');
    expect(await reissue('A', { onToken }, operator.deps)).toEqual({ outcome });
    expect(shown).toEqual([]);
    expect(operator.row('A')).toEqual(row);
    expect(operator.events).not.toContain('reissued A');
  });

  it('shows no token when the device changed while it was being reissued', async () => {
    await operator.register('A');
    const registry = { ...operator.deps.registry, reissue: async () => false };
    expect(await reissue('A', { onToken }, { ...operator.deps, registry })).toEqual({ outcome: 'changed' });
    expect(shown).toEqual([]);
    expect(operator.events).toEqual([]);
  });
});

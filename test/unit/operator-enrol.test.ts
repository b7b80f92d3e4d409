import { beforeEach, describe, expect, it } from 'vitest';
import { type EnrolOutcome, enrol } from '../../operator/enrol.ts';
import { hashToken } from '../../protocol/token.ts';
import type { Registry } from '../../registry/registry.ts';
import { createMemoryOperator, type MemoryOperator, now } from '../support/operator.ts';
import { newGateway } from '../support/trust.ts';

const token = 'Wq7Zt0vL2xB9nK4mR8cJ5yH1';

describe('enrolling devices', () => {
  let operator: MemoryOperator;
  beforeEach(() => {
    operator = createMemoryOperator();
  });

  it('takes a token that the device has already, and the table keeps its hash alone', async () => {
    const { outcomes } = await enrol([{ serial: 'A', token }], operator.deps);
    expect(outcomes).toEqual([{ outcome: 'enrolled', serial: 'A', token }]);
    expect(operator.row('A')).toMatchObject({ state: 'enrolled', tokenHash: hashToken(token), enrolledAt: now });
    expect(JSON.stringify(operator.row('A'))).not.toContain(token);
  });

  it('makes a token where none is given, with the settings and the lifetime that are asked for', async () => {
    const settings = { tokenLifetimeMs: 500, policyName: 'p', thingTypeName: 't', thingGroupName: 'g' };
    const { outcomes } = await enrol([{ ...settings, serial: 'A' }], operator.deps);
    expect(outcomes).toEqual([{ outcome: 'enrolled', serial: 'A', token: 'token-1-of-the-operator' }]);
    expect(operator.row('A')).toMatchObject({
      tokenHash: hashToken('token-1-of-the-operator'),
      tokenExpiresAt: now + 500,
      policyName: 'p',
      thingTypeName: 't',
      thingGroupName: 'g',
    });
  });

  it('changes nothing of a device that is enrolled already', async () => {
    await enrol([{ serial: 'A', token }], operator.deps);
    const { outcomes } = await enrol([{ serial: 'A', policyName: 'other' }], operator.deps);
    expect(outcomes).toEqual([{ outcome: 'exists', serial: 'A' }]);
    expect(operator.row('A')).toMatchObject({ tokenHash: hashToken(token) });
    expect(operator.row('A')).not.toHaveProperty('policyName');
    expect(operator.events).toEqual(['enrolled A']);
    expect(operator.announced).toEqual([['A']]);
  });

  it('refuses a serial that is none and a token that can be guessed, and says why without the token', async () => {
    const { outcomes } = await enrol([{ serial: 'a b' }, { serial: 'A', token: 'short' }], operator.deps);
    expect(outcomes).toEqual([
      { outcome: 'invalid', serial: 'a b', reason: expect.stringContaining('1 to 128'), cure: expect.any(String) },
      { outcome: 'invalid', serial: 'A', reason: expect.stringContaining('5 characters'), cure: expect.any(String) },
    ]);
    expect(JSON.stringify(outcomes)).not.toContain('short');
    expect(operator.rows.size).toBe(0);
    expect(operator.events).toEqual([]);
  });

  it.each([
    ['policyName', 'no such', 'no name of a policy'],
    ['policyName', 'a\nb', 'no name of a policy'],
    ['thingTypeName', 'a.b', 'no name of a thing type'],
    ['thingGroupName', 'a b', 'no name of a thing group'],
  ])('refuses a %s that AWS cannot have: %j', async (field, name, reason) => {
    const { outcomes } = await enrol([{ serial: 'A', [field]: name }], operator.deps);
    expect(outcomes).toEqual([
      { outcome: 'invalid', serial: 'A', reason: expect.stringContaining(reason), cure: expect.any(String) },
    ]);
    expect(JSON.stringify(outcomes)).not.toContain(name);
    expect(operator.rows.size).toBe(0);
  });

  it('enrols many at once, a bounded number at a time, and answers in the order of the requests', async () => {
    let [running, most] = [0, 0];
    const registry: Pick<Registry, 'enrol'> = {
      async enrol(enrolment) {
        most = Math.max(most, ++running);
        await new Promise((resolve) => setTimeout(resolve, enrolment.serial.endsWith('0') ? 2 : 1));
        running--;
        return operator.deps.registry.enrol(enrolment);
      },
    };
    const requests = Array.from({ length: 100 }, (_, index) => ({ serial: `S${index}` }));
    const { outcomes } = await enrol(requests, { ...operator.deps, registry }, { concurrency: 7 });
    expect(outcomes.map(({ serial }) => serial)).toEqual(requests.map(({ serial }) => serial));
    expect(most).toBe(7);
  });

  it('tells the gateways once of all devices, and records each device as it is enrolled', async () => {
    await enrol([{ serial: 'A' }, { serial: 'B' }, { serial: 'C' }], operator.deps, { concurrency: 1 });
    expect(operator.announced).toEqual([['A', 'B', 'C']]);
    expect(operator.events).toEqual(['enrolled A', 'enrolled B', 'enrolled C']);
  });

  it('hands out each token before the next device is tried: an outage costs none', async () => {
    const outcomes: EnrolOutcome[] = [];
    const registry: Pick<Registry, 'enrol'> = {
      async enrol(enrolment) {
        if (enrolment.serial === 'B') throw new Error('the table is away');
        return operator.deps.registry.enrol(enrolment);
      },
    };
    const options = { concurrency: 1, onOutcome: (outcome: EnrolOutcome) => void outcomes.push(outcome) };
    const requests = [{ serial: 'A' }, { serial: 'B' }, { serial: 'C' }];
    await expect(enrol(requests, { ...operator.deps, registry }, options)).rejects.toThrow('the table is away');
    expect(outcomes).toEqual([{ outcome: 'enrolled', serial: 'A', token: 'token-1-of-the-operator' }]);
    expect(operator.announced).toEqual([['A']]);
    expect(operator.row('C')).toBeUndefined();
  });

  it('enrols also when the gateways cannot be told, and says why not', async () => {
    const announce = async () => {
      throw new Error('no connection');
    };
    const result = await enrol([{ serial: 'A' }], { ...operator.deps, announce });
    expect(result).toMatchObject({ outcomes: [{ outcome: 'enrolled' }], unannounced: 'no connection' });
  });

  it("seals the device's keys to every gateway that is known, and says where there is none", async () => {
    const gateways = [1, 2].map(() => newGateway().identity);
    const result = await enrol([{ serial: 'A' }], { ...operator.deps, gateways: async () => gateways });
    expect([...result.without]).toEqual([]);
    expect(Object.keys(operator.row('A')?.sealedKeys ?? {})).toEqual(gateways.map(({ id }) => id));
    expect([...(await enrol([{ serial: 'B' }], operator.deps)).without]).toEqual([undefined]);
    expect(operator.row('B')).not.toHaveProperty('sealedKeys');
  });
});

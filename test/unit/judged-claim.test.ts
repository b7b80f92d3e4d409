import { describe, expect, it } from 'vitest';
import { problems } from '../../protocol/problems.ts';
import type { ProvisioningRequest } from '../../queue/provisioning-request.ts';
import type { WrongTokenVerdict } from '../../queue/token-attempts.ts';
import type { Claim } from '../../registry/attempts.ts';
import { claimWithinLimit } from '../../worker/judged-claim.ts';

const request: ProvisioningRequest = {
  requestId: 'request-1',
  serial: 'SN-1',
  tokenHash: 'sha256:ab',
  replyKey: 'key',
  key: 'ec',
  receivedAt: 0,
};
const tried = { ...request, attemptFrom: '10.0.0.1' };
const refused = (problem = problems.invalidToken): Claim => ({ outcome: 'refused', problem });

/** @returns what was done, in order */
async function claimed(of: ProvisioningRequest, verdict: WrongTokenVerdict['verdict'], claim: () => Claim) {
  const done: string[] = [];
  const begin = async (address: string): Promise<WrongTokenVerdict> => {
    done.push(`begin ${address}`);
    if (verdict === 'wait') return { verdict, seconds: 240 };
    if (verdict === 'full') return { verdict };
    return { verdict, settle: async (isWrong) => void done.push(isWrong ? 'wrong' : 'given back') };
  };
  const outcome = await claimWithinLimit(of, { wrongTokens: { begin }, now: () => 7 }, async () => {
    done.push('claim');
    return claim();
  }).catch((error: Error) => error.message);
  return { outcome, done };
}

describe('the claim of a token that no broker knew', () => {
  it('takes a place of its address first, and keeps it only where the token is wrong', async () => {
    const wrong = await claimed(tried, 'go', () => refused());
    expect(wrong).toEqual({ outcome: refused(), done: ['begin 10.0.0.1', 'claim', 'wrong'] });
    for (const other of [refused(problems.blocked), { outcome: 'busy', until: 1 } as const])
      expect((await claimed(tried, 'go', () => other)).done).toEqual(['begin 10.0.0.1', 'claim', 'given back']);
  });

  it('gives the place back where the token was not judged, since the table is away', async () => {
    const away = await claimed(tried, 'go', () => {
      throw new Error('away');
    });
    expect(away).toEqual({ outcome: 'away', done: ['begin 10.0.0.1', 'claim', 'given back'] });
  });

  it('is not made without a place: it is tried again soon, and refused where the address has to wait', async () => {
    const full = await claimed(tried, 'full', () => refused());
    expect(full).toEqual({ outcome: { outcome: 'busy', until: 7 }, done: ['begin 10.0.0.1'] });
    const paused = await claimed(tried, 'wait', () => refused());
    expect(paused).toEqual({ outcome: refused(problems.tooManyAttempts), done: ['begin 10.0.0.1'] });
  });
});

it('the claim of a token that its broker knew to be right takes no place', async () => {
  expect((await claimed(request, 'wait', () => refused())).done).toEqual(['claim']);
});

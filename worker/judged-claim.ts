import { problem, problems } from '../protocol/problems.ts';
import type { ProvisioningRequest } from '../queue/provisioning-request.ts';
import type { WrongTokenLimiter } from '../queue/token-attempts.ts';
import type { Claim } from '../registry/attempts.ts';

/** The longest wait that a device is told: by then the roster knows its token, if it is right. */
const maxRetrySeconds = 60;

/**
 * Claims. The claim judges the token, so where no broker knew that token to be right, it takes a place among the wrong tokens that
 * its address may have, and gives it back unless the token is wrong. Only the claim holds the place, not what AWS is called for
 * afterwards: thousands of devices behind one address wait for each other a few milliseconds.
 */
export async function claimWithinLimit(
  { attemptFrom: address }: ProvisioningRequest,
  { wrongTokens, now }: { readonly wrongTokens: Pick<WrongTokenLimiter, 'begin'>; now(): number },
  claim: () => Promise<Claim>,
): Promise<Claim> {
  if (address === undefined) return claim();
  const place = await wrongTokens.begin(address);
  if (place.verdict === 'full') return { outcome: 'busy', until: now() };
  if (place.verdict === 'wait') {
    const seconds = Math.min(place.seconds, maxRetrySeconds);
    return { outcome: 'refused', problem: problem('Throttled', problems.tooManyAttempts.message, seconds) };
  }
  let isWrong = false;
  try {
    const claimed = await claim();
    isWrong = claimed.outcome === 'refused' && claimed.problem.code === 'InvalidToken';
    return claimed;
  } finally {
    await place.settle(isWrong);
  }
}

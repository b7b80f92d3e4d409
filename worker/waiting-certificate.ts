import { CsrRefused, didNothing } from '../issuer/issuer.ts';
import { type Problem, problem, problems } from '../protocol/problems.ts';
import { type ProvisioningRequest, recipientIdOf } from '../queue/provisioning-request.ts';
import type { ClaimCertificates, ClaimRefusal } from '../registry/claim-certificates.ts';
import { credentialsOf, type Rejected, reject } from './answers.ts';
import type { ProvisionContext } from './provision.ts';

/** Everything that is needed to make a certificate before its device is known. */
export type WaitingContext = Pick<ProvisionContext, 'issuer' | 'replies' | 'seal' | 'rootCaPem' | 'leaseMs' | 'now'> & {
  readonly claims: ClaimCertificates;
  /** an id that no attempt ever had */
  makeId(): string;
};

export type Claimed = ProvisioningRequest & Required<Pick<ProvisioningRequest, 'claim'>>;

/** In the words of the device's engineer. */
export const claimProblems: Readonly<Record<ClaimRefusal, Problem>> = {
  unknown: problems.claimUnknown,
  revoked: problems.claimRevoked,
  ended: problems.claimEnded,
  'used-up': problems.claimUsedUp,
  'hour-used-up': problems.claimsTooFast,
  'too-many-wait': problems.claimsTooFast,
};

/**
 * A claim certificate asks for a certificate: it is made before the device is known, and waits for it, INACTIVE and attached to nothing.
 * It is written down before it exists, so the sweep finds it whatever becomes of this worker. An attempt that is made again makes
 * another one.
 */
export async function makeWaiting(
  request: Claimed,
  context: WaitingContext,
): Promise<
  | Rejected
  | { readonly outcome: 'accepted'; readonly certificateId: string; readonly again: false }
  | { readonly outcome: 'busy'; readonly untilMs: number }
> {
  const { claim, keyDigest, csrPem } = request;
  const { claims, issuer, leaseMs, now } = context;
  const endpoint = await issuer.endpoint();
  const at = now();
  const intended = { id: context.makeId(), ...(keyDigest === undefined ? {} : { keyDigest }) };
  const refusal = await claims.intend(claim, intended, at);
  if (refusal !== undefined) return reject(request, claimProblems[refusal], context);
  // a worker that was frozen here would create a certificate outside the time that the row tells
  if (now() > at + leaseMs) throw new Error('the create call was not made: too much time had passed since its intent');

  const forget = async () => {
    if (await claims.end(claim, { ...intended, at })) await claims.forget(claim, { ...intended, at });
  };
  const issued = await issuer.issue(csrPem === undefined ? 'rsa' : { csrPem }).catch(async (error: unknown) => {
    if (didNothing(error)) await forget().catch(() => {});
    if (!(error instanceof CsrRefused) || csrPem === undefined) throw error;
    return problem('InvalidCsr', `AWS IoT refuses this CSR: ${error.message}`);
  });
  if ('code' in issued) return reject(request, issued, context);

  const { certificateId } = issued;
  if (!(await claims.wait(claim, { ...intended, at, certificateId }))) {
    // the sweep has ended it meanwhile
    await issuer.withdraw(certificateId);
    return { outcome: 'busy', untilMs: now() };
  }
  const recipientId = recipientIdOf(request.serial, request.tokenHash);
  const credentials = credentialsOf(issued, { thingName: '', endpoint, rootCaPem: context.rootCaPem });
  const sealed = context.seal.answer(request.replyKey, recipientId, { status: 'accepted', credentials });
  await context.replies.deliver({ requestId: request.requestId, recipientId, sealed });
  return { outcome: 'accepted', certificateId, again: false };
}

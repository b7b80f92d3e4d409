import { attachedPolicies, attachedThings } from './aws-iot-pages.ts';
import { ignore, ignoreNotFound, retryWhile, together } from './expected-errors.ts';
import type { IotCalls } from './iot-calls.ts';

/** Errors of DeleteCertificate that pass: AWS is still detaching, or another process has attached or activated meanwhile. */
const passing = ['DeleteConflictException', 'CertificateStateException'];

/**
 * Deactivates a certificate, detaches it from everything and deletes it: a certificate that is only inactive could be
 * activated again. On a conflict it begins again from the start.
 * @param forMs how long AWS may take to detach, which it does asynchronously
 * @returns the things that the certificate was attached to
 * @see https://docs.aws.amazon.com/iot/latest/apireference/API_DeleteCertificate.html
 */
export async function withdrawCertificate(
  iot: IotCalls,
  { certificateId, arn }: { readonly certificateId: string; readonly arn: string },
  forMs: number,
): Promise<readonly string[]> {
  const detached = new Set<string>();
  await retryWhile(() => takeApart(iot, certificateId, arn, detached), passing, forMs);
  return [...detached];
}

/**
 * DetachPolicy calls a certificate that is gone an invalid target: its service model has no ResourceNotFoundException. Another
 * process may have deleted the certificate meanwhile. Where a policy is still attached instead, DeleteCertificate says so.
 */
const ignoreGoneTarget = ignore('InvalidRequestException');

async function takeApart(iot: IotCalls, certificateId: string, arn: string, detached: Set<string>): Promise<void> {
  await iot.updateCertificate(certificateId, 'INACTIVE').catch(ignoreNotFound);
  const [policies, things] = await Promise.all([attachedPolicies(iot, arn), attachedThings(iot, arn)]);
  for (const thing of things) detached.add(thing);
  await together([
    ...policies.map((policyName) => iot.detachPolicy({ policyName, target: arn }).catch(ignoreGoneTarget)),
    ...things.map((thingName) => iot.detachThingPrincipal({ thingName, principal: arn }).catch(ignoreNotFound)),
  ]);
  await iot.deleteCertificate(certificateId).catch(ignoreNotFound);
}

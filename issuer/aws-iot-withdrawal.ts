import { awsErrorName } from '../aws/errors.ts';
import { retryWhile } from '../aws/retry-while.ts';
import { UpstreamRefused } from '../runtime/upstream.ts';
import { attachedPolicies, attachedThings } from './aws-iot-pages.ts';
import { ignore, ignoreNotFound, together } from './expected-errors.ts';
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

/** Errors of UpdateCertificate that may mean that its status cannot be changed any more. */
const mayBeFinal: readonly string[] = ['CertificateStateException', 'InvalidRequestException'];

/**
 * The certificate is not ACTIVE afterwards. One that a person has revoked in AWS keeps that status for good, and one that is being
 * transferred cannot be used either: both are as good as INACTIVE, and can be detached and deleted.
 * @see https://docs.aws.amazon.com/iot/latest/developerguide/revoke-ca-cert.html
 */
export async function deactivateCertificate(iot: IotCalls, certificateId: string): Promise<void> {
  await setStatus(iot, certificateId, 'INACTIVE', (status) => status !== 'ACTIVE').catch(ignoreNotFound);
}

/** @throws UpstreamRefused for one that is revoked or being transferred: no repetition activates it */
export async function activateCertificate(iot: IotCalls, certificateId: string): Promise<void> {
  await setStatus(iot, certificateId, 'ACTIVE', (status, error) => {
    if (status === undefined || status === 'ACTIVE' || status === 'INACTIVE') return false;
    const cause = error instanceof UpstreamRefused ? (error.cause as Error) : (error as Error);
    throw new UpstreamRefused(
      'iot:UpdateCertificate',
      cause,
      `the certificate ${certificateId} is ${status} in AWS IoT Core, where a revocation is for good: "cvm devices reissue" gives its device another one`,
    );
  });
}

/** @param isDone judges the status that a certificate has after AWS refused to change it; undefined when it is gone */
async function setStatus(
  iot: IotCalls,
  certificateId: string,
  newStatus: 'ACTIVE' | 'INACTIVE',
  isDone: (status: string | undefined, error: unknown) => boolean,
): Promise<void> {
  try {
    await iot.updateCertificate(certificateId, newStatus);
  } catch (error) {
    if (!mayBeFinal.includes(awsErrorName(error))) throw error;
    const found = await iot.describeCertificate(certificateId).catch(ignoreNotFound);
    if (!isDone(found?.certificateDescription?.status, error)) throw error;
  }
}

async function takeApart(iot: IotCalls, certificateId: string, arn: string, detached: Set<string>): Promise<void> {
  await deactivateCertificate(iot, certificateId);
  const [policies, things] = await Promise.all([attachedPolicies(iot, arn), attachedThings(iot, arn)]);
  for (const thing of things) detached.add(thing);
  await together([
    ...policies.map((policyName) => iot.detachPolicy({ policyName, target: arn }).catch(ignoreGoneTarget)),
    ...things.map((thingName) => iot.detachThingPrincipal({ thingName, principal: arn }).catch(ignoreNotFound)),
  ]);
  await iot.deleteCertificate(certificateId).catch(ignoreNotFound);
}

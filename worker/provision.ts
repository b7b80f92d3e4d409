import { CsrRefused, didNothing, type Issuer } from '../issuer/issuer.ts';
import { abandonCertificate, deletePending } from '../issuer/withdrawal.ts';
import { type Problem, problem, problems } from '../protocol/problems.ts';
import { type ProvisioningRequest, recipientIdOf } from '../queue/provisioning-request.ts';
import type { ReplyStore } from '../queue/replies.ts';
import type { Attempts, Claim } from '../registry/attempts.ts';
import type { Deletions } from '../registry/deletions.ts';
import type { Device } from '../registry/device.ts';
import type { Devices } from '../registry/devices.ts';
import { UpstreamRefused } from '../runtime/upstream.ts';
import type { Sealer } from '../sealing/replies.ts';
import { credentialsOf, type Rejected, reject } from './answers.ts';
import {
  type Attempt,
  bindKeyOf,
  type CreatedCertificate,
  type DeviceKey,
  type DeviceKeyDeps,
  deviceKeyOf,
  findLostCertificate,
} from './device-key.ts';

/** Everything that `provision` acts on, and its settings. */
export type ProvisionContext = DeviceKeyDeps & {
  readonly registry: Attempts & Deletions & Pick<Devices, 'find'>;
  readonly issuer: Issuer;
  readonly replies: ReplyStore;
  readonly seal: Sealer;
  readonly rootCaPem: string;
  /** the IoT policy of devices whose row names no other */
  readonly policyName: string;
  readonly replayWindowMs: number;
  /** how long one attempt may take before another may take it up */
  readonly leaseMs: number;
  /** epoch milliseconds */
  now(): number;
};

/**
 * `again`: an answer that was given before. `cause`: AWS refuses until a person changes something; the error
 * names the cure. `busy`: another attempt is under way, or this one was overtaken by an attempt or a decision: try again.
 */
export type Provisioned =
  | { readonly outcome: 'accepted'; readonly certificateId: string; readonly again: boolean }
  | (Rejected & { readonly cause?: UpstreamRefused })
  | { readonly outcome: 'busy'; readonly untilMs: number };

/**
 * The issuance cycle, the product. The steps are those of docs/issuance-cycle.md. A certificate is written down before it
 * exists, marked for deletion before it is deleted, and activated last. When a worker dies, the next attempt finds in the
 * row and in the kept reply how far it came, and carries on or deletes.
 *
 * A refusal is a value. An exception is an outage: the request is tried again.
 */
export async function provision(request: ProvisioningRequest, context: ProvisionContext): Promise<Provisioned> {
  try {
    // 1 claim: one conditional write is the decision
    const claim = await context.registry.claim(claimOf(request, context));
    if (claim.outcome === 'busy') return { outcome: 'busy', untilMs: claim.until };
    if (claim.outcome === 'refused') return await reject(request, claim.problem, context);
    if (claim.outcome === 'registered') return await answerAgain(request, claim.device, context);
    return await vendOrRelease(request, claim.device, context);
  } catch (error) {
    if (!(error instanceof UpstreamRefused)) throw error;
    // trying again changes nothing until a person acts, so the device is told to come back later
    return { ...(await reject(request, problems.upstreamRefuses, context)), cause: error };
  }
}

/** Steps 2 to 10 of the attempt that holds the claim. */
async function vend(attempt: Attempt, context: ProvisionContext): Promise<Provisioned> {
  const { request, device, recipientId } = attempt;
  const { registry, issuer, replies } = context;

  if (!(await bindKeyOf(attempt, registry))) {
    await registry.release(device.serial, device.attempt);
    return reject(request, problems.sharedKey, context);
  }

  // 2 intent, 3 issue, 4 record, 5 seal; or carry on with the certificate of an earlier attempt that came that far
  const ready = (await carryOn(attempt, context)) ?? (await issueAndSeal(attempt, context));
  if ('problem' in ready) return reject(request, ready.problem, context);
  if ('overtaken' in ready) return { outcome: 'busy', untilMs: context.now() };
  const { certificateId, sealed } = ready;

  // 6 attach: the certificate to its thing and its policy, at once
  await issuer.attach(attachmentOf(device, certificateId, context.policyName));

  // 7 delete earlier: the device's earlier certificates. INACTIVE would not be enough: a worker that was frozen
  // in the middle of an earlier attempt may still activate one of them, and then the device would have two
  await deletePending(device, context);
  if (device.previousCertificateId !== undefined) await issuer.withdraw(device.previousCertificateId);

  // 8 activate: from here on the certificate works
  await issuer.activate(certificateId);

  // 9 finish: the device is registered
  if (!(await registry.finish(device.serial, device.attempt, certificateId, context.now()))) {
    // the operator, the sweeper or a later attempt has written another decision meanwhile
    await abandonCertificate(device.serial, certificateId, context);
    return { outcome: 'busy', untilMs: context.now() };
  }

  // 10 hand over
  await replies.deliver({ requestId: request.requestId, recipientId, sealed });
  return { outcome: 'accepted', certificateId, again: false };
}

/** Why there is no certificate. `overtaken`: this attempt is not the latest any more, and writes nothing more. */
type Ended = { readonly problem: Problem } | { readonly overtaken: true };

/** A recorded certificate and its sealed reply, which is kept for the replay window. */
type Ready = { readonly certificateId: string; readonly sealed: string };

/** Steps 2 to 5. */
async function issueAndSeal(attempt: Attempt, context: ProvisionContext): Promise<Ready | Ended> {
  const { request, device, recipientId } = attempt;
  const { registry, issuer, replies } = context;
  const { serial } = device;
  const endpoint = await issuer.endpoint();
  // the thing is made meanwhile and awaited at the end: if making it fails, the certificate is still recorded
  const thing = issuer.ensureThing(serial, device.thingTypeName);
  thing.catch(() => {});

  // 2 intent, 3 issue; or the certificate of an earlier create call whose answer was lost
  const key = await deviceKeyOf(attempt, context);
  const created = (await findLostCertificate(device, key, issuer)) ?? (await issue(attempt, key, context));
  if (!('certificate' in created)) return created;
  const { certificate, createdBy } = created;
  const { certificateId } = certificate;

  // 4 record: from now on the row names the certificate
  const recorded = {
    certificateId,
    ...(request.keyDigest === undefined ? {} : { keyDigest: request.keyDigest }),
    ...(createdBy === undefined ? {} : { createdBy }),
  };
  if (!(await registry.recordCertificate(serial, device.attempt, recorded))) {
    await abandonCertificate(serial, certificateId, context);
    return { overtaken: true };
  }

  // 5 seal: an RSA private key exists nowhere else, so its reply is kept before the certificate is live
  const credentials = credentialsOf(certificate, { thingName: serial, endpoint, rootCaPem: context.rootCaPem });
  const answer = { status: 'accepted', credentials } as const;
  const sealed = context.seal.answer(request.replyKey, recipientId, answer, key.sealedKey);
  await replies.keep(recipientId, certificateId, sealed, keptMs(context));
  await thing;
  return { certificateId, sealed };
}

/** The replay window begins with step 9, at most a lease after a reply is kept, and the reply must not end before it. */
function keptMs({ replayWindowMs, leaseMs }: ProvisionContext): number {
  return replayWindowMs + leaseMs;
}

/** Steps 2 and 3. */
async function issue(
  { request, device }: Attempt,
  key: DeviceKey,
  { registry, issuer, leaseMs, now }: ProvisionContext,
): Promise<CreatedCertificate | Ended> {
  const { serial, attempt } = device;

  // 2 intent: after a crash, the row tells which key to look for, and when the certificate was made
  const intent = { at: now(), ...(key.keyDigest === undefined ? {} : { keyDigest: key.keyDigest }) };
  if (!(await registry.recordCreateIntent(serial, attempt, intent, key.ownKey))) return { overtaken: true };
  // a worker that was frozen here would create a certificate outside the time that the row tells
  if (now() > intent.at + leaseMs)
    throw new Error('the create call was not made: too much time had passed since its intent was written');

  // 3 issue: the certificate exists, INACTIVE and attached to nothing
  try {
    return { certificate: await issuer.issue(key.source), createdBy: attempt };
  } catch (error) {
    if (error instanceof CsrRefused && request.csrPem !== undefined) {
      await registry.release(serial, attempt, true);
      return { problem: problem('InvalidCsr', `AWS IoT refuses this CSR: ${error.message}`) };
    }
    throw didNothing(error) ? new NothingIssued(error) : error;
  }
}

/** The create call of this attempt failed, and certainly made nothing. `cause` is its error. */
class NothingIssued extends Error {
  constructor(cause: unknown) {
    super('nothing was issued', { cause });
  }
}

/** The certificate of an earlier attempt, if its sealed reply is kept. Otherwise that certificate is deleted. */
async function carryOn(attempt: Attempt, context: ProvisionContext): Promise<Ready | Ended | undefined> {
  const { request, device, recipientId } = attempt;
  const { registry, issuer, replies } = context;
  const { certificateId, serial } = device;
  if (certificateId === undefined) return undefined;
  const sealed = await replies.kept(recipientId, certificateId);
  if (sealed !== undefined && device.keyDigest === request.keyDigest) {
    // the earlier attempt may be a long time ago
    await replies.keep(recipientId, certificateId, sealed, keptMs(context));
    await issuer.ensureThing(serial, device.thingTypeName);
    return { certificateId, sealed };
  }
  // its private key is lost, or the device has another key by now. It is marked for deletion first: an attempt that finds
  // the reply after all must not carry on with a certificate that is being deleted
  if (!(await registry.discardCertificate(serial, device.attempt, certificateId))) return { overtaken: true };
  await deletePending({ serial, pendingDeletion: [certificateId] }, context);
  await replies.erase(recipientId, certificateId);
  return undefined;
}

/** When the attempt fails, its claim is given back, so the next attempt need not wait until the lease is over. */
async function vendOrRelease(
  request: ProvisioningRequest,
  device: Device,
  context: ProvisionContext,
): Promise<Provisioned> {
  const recipientId = recipientIdOf(request.serial, request.tokenHash);
  try {
    return await vend({ request, device, recipientId }, context);
  } catch (error) {
    const nothingMade = error instanceof NothingIssued;
    const outage = nothingMade ? error.cause : error;
    // if this write fails as well, the next attempt waits
    await context.registry.release(device.serial, device.attempt, nothingMade).catch(() => false);
    if (outage instanceof UpstreamRefused) await forgetDeletedCertificate(device, recipientId, context);
    throw outage;
  }
}

/** AWS may refuse because the certificate of an earlier attempt was deleted there. Without its reply the next attempt begins anew. */
async function forgetDeletedCertificate(
  { certificateId }: Device,
  recipientId: string,
  { issuer, replies }: ProvisionContext,
): Promise<void> {
  if (certificateId === undefined) return;
  const found = await issuer.describeCertificate(certificateId).catch(() => 'unknown' as const);
  if (found === undefined) await replies.erase(recipientId, certificateId);
}

/**
 * The same token asks again. Within the replay window it gets the same answer from the kept reply, without a call to AWS.
 * If the reply is lost, the row is reopened and the cycle runs again: the certificate without a key is deleted before
 * another one goes live.
 */
async function answerAgain(
  request: ProvisioningRequest,
  device: Device,
  context: ProvisionContext,
): Promise<Provisioned> {
  const { registry, replies, replayWindowMs } = context;
  const recipientId = recipientIdOf(request.serial, request.tokenHash);
  const { certificateId } = device;
  const over = context.now() >= (device.issuedAt ?? device.requestedAt) + replayWindowMs;
  if (device.deliveredAt !== undefined || over) {
    if (certificateId !== undefined) await replies.erase(recipientId, certificateId);
    return reject(request, problems.alreadyProvisioned, context);
  }
  // without its CSR, the device would get a certificate and no key that it is known to have
  if (request.keyDigest !== device.keyDigest) return reject(request, problems.keyMismatch, context);

  const sealed = certificateId === undefined ? undefined : await replies.kept(recipientId, certificateId);
  if (certificateId !== undefined && sealed !== undefined) {
    await replies.deliver({ requestId: request.requestId, recipientId, sealed });
    return { outcome: 'accepted', certificateId, again: true };
  }
  const claim: Claim = await registry.reopen(device, claimOf(request, context));
  if (claim.outcome !== 'claimed') return { outcome: 'busy', untilMs: context.now() };
  return vendOrRelease(request, claim.device, context);
}

function claimOf({ serial, tokenHash, requestId }: ProvisioningRequest, { now, leaseMs }: ProvisionContext) {
  return { serial, tokenHash, now: now(), leaseMs, claimedBy: requestId };
}

function attachmentOf(device: Device, certificateId: string, policyName: string) {
  const group = device.thingGroupName === undefined ? {} : { thingGroupName: device.thingGroupName };
  return { certificateId, thingName: device.serial, policyName: device.policyName ?? policyName, ...group };
}

import { CsrRefused, didNothing, type Issuer } from '../issuer/issuer.ts';
import { abandonCertificate, deletePending } from '../issuer/withdrawal.ts';
import { type Problem, problem, problems } from '../protocol/problems.ts';
import { type ProvisioningRequest, recipientIdOf } from '../queue/provisioning-request.ts';
import type { EarlierReplies, ReplyStore } from '../queue/replies.ts';
import type { SeenCertificates } from '../queue/seen-certificates.ts';
import type { WrongTokenLimiter } from '../queue/token-attempts.ts';
import type { Attempts, Claim } from '../registry/attempts.ts';
import { intentOf, ownIntentsOf } from '../registry/create-intents.ts';
import type { Deletions } from '../registry/deletions.ts';
import type { CreateIntent, Device } from '../registry/device.ts';
import type { Devices } from '../registry/devices.ts';
import { UpstreamRefused } from '../runtime/upstream.ts';
import type { Sealer } from '../sealing/replies.ts';
import type { Templates } from '../templates/load.ts';
import type { Registration } from '../templates/template.ts';
import { credentialsOf, type Rejected, reject } from './answers.ts';
import {
  type Attempt,
  type CreatedCertificate,
  type DeviceKey,
  type DeviceKeyDeps,
  deviceKeyOf,
  findLostCertificate,
  intendedFor,
} from './device-key.ts';
import { earlierReply } from './earlier-reply.ts';
import { claimWithinLimit } from './judged-claim.ts';
import type { RefusedKeys } from './refused-keys.ts';
import { carryOut, digestOf, saidOf } from './template.ts';

/** Everything that `provision` works with, and its settings. */
export type ProvisionContext = DeviceKeyDeps & {
  readonly registry: Attempts & Deletions & Pick<Devices, 'find'>;
  readonly issuer: Issuer;
  readonly replies: Pick<ReplyStore, 'deliver'>;
  readonly earlierReplies: Pick<EarlierReplies, 'kept'>;
  readonly seal: Sealer;
  readonly rootCaPem: string;
  /** the IoT policy of devices whose row names no other */
  readonly policyName: string;
  readonly replayWindowMs: number;
  /** that this gateway serves; a device of another one is unknown here */
  readonly site?: string | undefined;
  /** how long one attempt may take before another may take it up */
  readonly leaseMs: number;
  /** epoch milliseconds */
  now(): number;
  readonly seen: Pick<SeenCertificates, 'last' | 'note'>;
  /** when the table was last restored from a backup, in epoch milliseconds */
  restoredAt(): Promise<number | undefined>;
  readonly refusedKeys: RefusedKeys;
  readonly templates: Templates;
  readonly wrongTokens: Pick<WrongTokenLimiter, 'begin'>;
  readonly notices: ProvisionNotices;
};

/** Events for the operator. The device is served all the same. */
export type ProvisionNotices = {
  /** The row had no reply for a device that asked again: it gets another certificate in place of `certificateId`. */
  reopened(request: ProvisioningRequest, certificateId: string | undefined): void;
  /** A certificate of the device's thing that its row did not name was deleted: the table is older than AWS. */
  otherWithdrawn(request: AboutRequest, certificateId: string): void;
};

/** The fields of a request that log and audit trail have. */
export type AboutRequest = Pick<ProvisioningRequest, 'serial' | 'requestId' | 'remoteAddress'>;

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
 * row how far it came, and carries on or deletes.
 *
 * A refusal is a value. An exception is an outage: the request is tried again.
 */
export async function provision(request: ProvisioningRequest, context: ProvisionContext): Promise<Provisioned> {
  try {
    // 1 claim: one conditional write is the decision, and notes what is to be created. It also judges the token
    const claim = await claimWithinLimit(request, context, () => claimOnce(request, context));
    if (claim.outcome === 'busy') return { outcome: 'busy', untilMs: claim.until };
    if (claim.outcome === 'refused') {
      const { problem, fault } = claim;
      return { ...(await reject(request, problem, context)), ...(fault === undefined ? {} : { fault }) };
    }
    if (claim.outcome === 'registered') return await answerAgain(request, claim.device, context);
    return await vendOrRelease(request, claim.device, context);
  } catch (error) {
    if (!(error instanceof UpstreamRefused)) throw error;
    // trying again changes nothing until a person acts, so the device is told to come back later
    return { ...(await reject(request, problems.upstreamRefuses, context)), cause: error };
  }
}

/** Steps 2 to 9 of the attempt that holds the claim. */
async function vend(attempt: Attempt, context: ProvisionContext): Promise<Provisioned> {
  const { request, device, intents, recipientId } = attempt;
  const { registry, issuer } = context;

  // before anything is spent: what a template cannot say of this device, it cannot say of any certificate
  const unfit = templateProblem(request, context);
  if (unfit !== undefined) {
    await registry.release(device, intents);
    return reject(request, unfit, context);
  }

  // 2 issue, 3 seal, 4 record; or carry on with the certificate of an earlier attempt that came that far
  const ready = (await carryOn(attempt, context)) ?? (await issueAndRecord(attempt, context));
  if ('problem' in ready) return reject(request, ready.problem, context);
  if ('overtaken' in ready) return { outcome: 'busy', untilMs: context.now() };
  const { certificateId, sealed, said } = ready;

  // template: thing and certificate are as it says before the certificate works, and before an earlier one is deleted
  const failed = said && (await carryOut(said, certificateId, issuer));
  if (failed !== undefined) {
    await registry.release(device, intents);
    return reject(request, failed, context);
  }

  // 5 to 8
  if (!(await goLive(attempt, certificateId, context))) return { outcome: 'busy', untilMs: context.now() };

  // 9 hand over
  await context.replies.deliver({ requestId: request.requestId, recipientId, sealed });
  return { outcome: 'accepted', certificateId, again: false };
}

/** An attempt, as far as its last steps need it. */
export type LastSteps = Pick<Attempt, 'device' | 'intents'> & { readonly request: AboutRequest };

export type LastStepsContext = Pick<
  ProvisionContext,
  'registry' | 'issuer' | 'policyName' | 'seen' | 'restoredAt' | 'now' | 'notices'
>;

/**
 * Steps 5 to 8: the recorded certificate of this attempt becomes the one that works.
 * @returns false when another decision or attempt was written meanwhile: it is deleted then, unless that one has it
 */
export async function goLive(attempt: LastSteps, certificateId: string, context: LastStepsContext): Promise<boolean> {
  const { device, intents } = attempt;
  const { registry, issuer } = context;

  // 5 attach: the certificate to its thing and its policy, at once
  await issuer.attach(attachmentOf(device, certificateId, context.policyName));

  // 6 delete earlier: the device's earlier certificates. INACTIVE would not be enough: a worker that was frozen
  // in the middle of an earlier attempt may still activate one of them, and then the device would have two
  await deletePending(device, context);
  if (device.previousCertificateId !== undefined) await issuer.withdraw(device.previousCertificateId);
  await withdrawOthers(attempt, certificateId, context);

  // 7 activate: from here on the certificate works
  await issuer.activate(certificateId);

  // 8 finish: the device is registered
  if (await registry.finish(device, certificateId, context.now(), intents)) return true;
  // the operator, the sweeper or a later attempt has written another decision meanwhile
  await abandonCertificate(device.serial, certificateId, context);
  return false;
}

/** A device that was enrolled after the backup was made is enrolled again some time after the table was restored. Milliseconds. */
const enrolledAgainMs = 90 * 86_400_000;

/**
 * A table that was restored from a backup does not name a certificate that was vended since. So where this gateway has activated
 * another one for the device, the row is from before the table was restored or from not long after, or the device was reissued, the thing is asked which certificates it has.
 */
async function withdrawOthers(
  { request, device }: LastSteps,
  certificateId: string,
  context: LastStepsContext,
): Promise<void> {
  const { serial, mayHaveOthers = false, enrolledAt } = device;
  const [last = certificateId, restoredAt] = await Promise.all([context.seen.last(serial), context.restoredAt()]);
  const isFromBackup = restoredAt !== undefined && enrolledAt < restoredAt + enrolledAgainMs;
  if (mayHaveOthers || last !== certificateId || isFromBackup)
    for (const other of (await context.issuer.certificatesOf(serial)) ?? [])
      if (other !== certificateId && (await abandonCertificate(serial, other, context)))
        context.notices.otherWithdrawn(request, other);
  // only now: an attempt that died before this looks again
  await context.seen.note(serial, certificateId);
}

/** Why there is no certificate. `overtaken`: this attempt is not the latest any more, and writes nothing more. */
type Ended = { readonly problem: Problem } | { readonly overtaken: true };

/** A recorded certificate and its sealed reply, which the row keeps; and what the template says, where the request names one. */
type Ready = { readonly certificateId: string; readonly sealed: string; readonly said: Registration | undefined };

/** Steps 2 to 4. */
async function issueAndRecord(attempt: Attempt, context: ProvisionContext): Promise<Ready | Ended> {
  const { request, device, recipientId } = attempt;
  const { registry, issuer } = context;
  const { serial } = device;
  const endpoint = await issuer.endpoint();
  // the thing is made meanwhile and awaited at the end: if making it fails, the certificate is still recorded
  const thing = issuer.ensureThing(serial, device.thingTypeName);
  thing.catch(() => {});

  // 2 issue; or the certificate of an earlier create call whose answer was lost
  if (await isKeyRefused(request, context)) {
    await registry.release(device, attempt.intents);
    return { problem: problems.sharedKey };
  }
  const key = deviceKeyOf(attempt);
  const created = (await findLostCertificate(attempt, key, issuer)) ?? (await issue(attempt, key, context));
  if (!('certificate' in created)) return created;
  const { certificate, settled } = created;
  const { certificateId } = certificate;
  const said = saidFor(request, certificateId, context);
  if (said !== undefined && 'problem' in said) return giveUp(attempt, created, said.problem, context);

  // 3 seal: to the device's token. The worker cannot read it again
  const connection = { thingName: serial, endpoint, rootCaPem: context.rootCaPem };
  const configuration = said && { deviceConfiguration: said.deviceConfiguration };
  const credentials = { ...credentialsOf(certificate, connection), ...configuration };
  const answer = { status: 'accepted', credentials } as const;
  const sealed = context.seal.answer(request.replyKey, recipientId, answer, key.sealedKey);

  // 4 record: from now on the row names the certificate and has its reply. An RSA private key exists nowhere else, so it is
  // there before the certificate is live
  const recorded = {
    certificateId,
    keptReply: sealed,
    settled,
    ...(request.keyDigest === undefined ? {} : { keyDigest: request.keyDigest }),
    ...templateOf(request, said),
  };
  const outcome = await leavingCertificate(() => registry.recordCertificate(device, recorded));
  if (outcome === 'key-taken') return refuseKey(attempt, created, context);
  if (outcome === 'overtaken') {
    await abandonCertificate(serial, certificateId, context);
    return { overtaken: true };
  }
  await thing;
  return { certificateId, sealed, said };
}

/** A certificate has an id by now, and a template may say something else of this one than of any. Undefined: the request names none. */
function saidFor(
  { serial, template }: ProvisioningRequest,
  certificateId: string,
  { templates }: Pick<ProvisionContext, 'templates'>,
) {
  return template && saidOf(serial, { ...template, certificateId }, templates);
}

/** Why the template that the request names cannot be carried out, as far as that is known without a certificate. */
function templateProblem(
  request: ProvisioningRequest,
  context: Pick<ProvisionContext, 'templates'>,
): Problem | undefined {
  const said = saidFor(request, '0'.repeat(64), context);
  return said !== undefined && 'problem' in said ? said.problem : undefined;
}

/** What the row keeps of it. */
const templateOf = ({ template }: ProvisioningRequest, said: Registration | undefined): Pick<Device, 'template'> =>
  template === undefined || said === undefined
    ? {}
    : { template: { name: template.templateName, digest: digestOf(said) } };

/** The template says something of this certificate alone that cannot be. It is deleted: nothing was recorded. */
async function giveUp(
  { device, intents }: Attempt,
  { certificate }: CreatedCertificate,
  problem: Problem,
  context: ProvisionContext,
): Promise<Ended> {
  await leavingCertificate(() => abandonCertificate(device.serial, certificate.certificateId, context));
  await context.registry.release(device, intents);
  return { problem };
}

/** A repeated request with a key of another device: that key may have become free. */
async function isKeyRefused(
  { serial, keyDigest }: ProvisioningRequest,
  { registry, refusedKeys }: ProvisionContext,
): Promise<boolean> {
  if (keyDigest === undefined || !refusedKeys.has(serial, keyDigest)) return false;
  const holder = await registry.keyHolder(keyDigest);
  return holder !== undefined && holder !== serial;
}

/**
 * The key is another device's. That device may have found this certificate as its own, and recorded it: then it stays. One that this
 * attempt has found and not made is that device's, or is left to the sweep.
 */
async function refuseKey(
  { request, device, intents }: Attempt,
  { certificate, isFound }: CreatedCertificate,
  context: ProvisionContext,
): Promise<Ended> {
  const { serial, keyDigest = '' } = request;
  if (!isFound) {
    const holder = await leavingCertificate(() => context.registry.keyHolder(keyDigest));
    await leavingCertificate(() => abandonCertificate(holder ?? serial, certificate.certificateId, context));
  }
  context.refusedKeys.note(serial, keyDigest);
  await context.registry.release(device, intents);
  return { problem: problems.sharedKey };
}

/** Step 2. */
async function issue(attempt: Attempt, key: DeviceKey, context: ProvisionContext): Promise<CreatedCertificate | Ended> {
  const { request, device, intents } = attempt;
  const { registry, issuer, leaseMs, now } = context;
  const intent = await intentFor(attempt, key, context);
  if (intent === undefined) return { overtaken: true };
  // a worker that was frozen here would create a certificate outside the time that the row tells
  if (now() > intent.at + leaseMs)
    throw new Error('the create call was not made: too much time had passed since its intent was written');

  // 2 issue: the certificate exists, INACTIVE and attached to nothing
  try {
    return { certificate: await issuer.issue(key.source), settled: intents, isFound: false };
  } catch (error) {
    if (error instanceof CsrRefused && request.csrPem !== undefined) {
      await registry.release(device, intents);
      return { problem: problem('InvalidCsr', `AWS IoT refuses this CSR: ${error.message}`) };
    }
    // a CSR of the gateway: no device can correct it, and no repetition does
    const outage = error instanceof CsrRefused ? (error.refusal ?? error) : error;
    throw didNothing(outage) ? outage : new CertificateLeft(outage);
  }
}

/**
 * After a crash, the row tells which key to look for, and when the certificate was made. The claim wrote that; where it named another
 * key than that of an earlier attempt, or the attempt has taken its time since, another intent is written.
 */
async function intentFor(
  { device, intents }: Attempt,
  { keyDigest }: DeviceKey,
  { registry, leaseMs, now }: ProvisionContext,
): Promise<CreateIntent | undefined> {
  const claimed = intents.find((each) => each.keyDigest === keyDigest && now() <= each.at + leaseMs / 2);
  if (claimed !== undefined) return claimed;
  const intent = intentOf(device, { at: now(), ...(keyDigest === undefined ? {} : { keyDigest }) });
  if (!(await registry.recordCreateIntent(device, intent))) return undefined;
  intents.push(intent);
  return intent;
}

/** The attempt failed when a certificate that the row does not name may exist: its intents stay. `cause` is the error. */
class CertificateLeft extends Error {
  constructor(cause: unknown) {
    super('a certificate may be left', { cause });
  }
}

async function leavingCertificate<T>(act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    throw new CertificateLeft(error);
  }
}

/** The certificate of an earlier attempt, if it is for the key that the device has now. Otherwise that certificate is deleted. */
async function carryOn({ request, device }: Attempt, context: ProvisionContext): Promise<Ready | Ended | undefined> {
  const { registry, issuer } = context;
  const { certificateId, keptReply, serial } = device;
  if (certificateId === undefined) return undefined;
  const said = saidFor(request, certificateId, context);
  const isSame =
    device.keyDigest === request.keyDigest &&
    (said === undefined || !('problem' in said)) &&
    templateOf(request, said).template?.digest === device.template?.digest;
  if (keptReply !== undefined && isSame) {
    await issuer.ensureThing(serial, device.thingTypeName);
    return { certificateId, sealed: keptReply, said };
  }
  // the device has another key by now, or names another template, or an earlier version wrote the row, and the private key is lost. It is marked for deletion
  // first: no other attempt must carry on with a certificate that is being deleted
  if (!(await registry.discardCertificate(device, certificateId))) return { overtaken: true };
  await deletePending({ serial, pendingDeletion: [certificateId] }, context);
  return undefined;
}

/** When the attempt fails, its claim is given back, so the next attempt need not wait until the lease is over. */
async function vendOrRelease(
  request: ProvisioningRequest,
  device: Device,
  context: ProvisionContext,
): Promise<Provisioned> {
  const recipientId = recipientIdOf(request.serial, request.tokenHash);
  const intents = [...ownIntentsOf(device)];
  try {
    return await vend({ request, device, recipientId, intents }, context);
  } catch (error) {
    const isLeft = error instanceof CertificateLeft;
    const outage = isLeft ? error.cause : error;
    if (outage instanceof UpstreamRefused) await discardIfGone(device, context);
    // if this write fails as well, the next attempt waits
    const released = await context.registry.release(device, isLeft ? [] : intents).catch(() => undefined);
    // AWS refuses what an operator or another attempt has taken away meanwhile: no person has to act
    if (released === false && outage instanceof UpstreamRefused) return { outcome: 'busy', untilMs: context.now() };
    throw outage;
  }
}

/** AWS may refuse because the certificate of an earlier attempt was deleted there. The next attempt then begins anew. */
async function discardIfGone(device: Device, { issuer, registry }: ProvisionContext): Promise<void> {
  const { certificateId } = device;
  if (certificateId === undefined) return;
  const found = await issuer.describeCertificate(certificateId).catch(() => 'unknown' as const);
  if (found === undefined) await registry.discardCertificate(device, certificateId).catch(() => false);
}

/**
 * The same token asks again. Within the replay window it gets the same answer from the kept reply, without a call to AWS; where version
 * 0.1.0 kept that, AWS is asked for the certificate.
 */
async function answerAgain(
  request: ProvisioningRequest,
  device: Device,
  context: ProvisionContext,
): Promise<Provisioned> {
  const { certificateId } = device;
  const over = context.now() >= issuedAtOf(device) + context.replayWindowMs;
  if (device.deliveredAt !== undefined || over) return reject(request, problems.alreadyProvisioned, context);
  // without its CSR, the device would get a certificate and no key that it is known to have
  if (request.keyDigest !== device.keyDigest) return reject(request, problems.keyMismatch, context);

  const sealed = device.keptReply ?? (await earlierReply(request, device, context));
  if (certificateId === undefined || sealed === undefined) return reopen(request, device, context);
  // its template was carried out, and its configuration is in the reply; no other one is
  const { template } = request;
  if (template !== undefined && template.templateName !== device.template?.name)
    return reject(request, problems.otherTemplate, context);
  const recipientId = recipientIdOf(request.serial, request.tokenHash);
  await context.replies.deliver({ requestId: request.requestId, recipientId, sealed });
  return { outcome: 'accepted', certificateId, again: true };
}

const issuedAtOf = ({ issuedAt, requestedAt }: Device): number => issuedAt ?? requestedAt;

/**
 * The reply of a registered device is nowhere: another tool wrote its row, or version 0.1.0 did and its Redis is lost. A device that asks
 * now has lost its certificate, and the cycle runs again: that certificate is deleted before another one goes live.
 */
async function reopen(request: ProvisioningRequest, device: Device, context: ProvisionContext): Promise<Provisioned> {
  // an old request, out of a Redis that was restored, say, must not cost the device the certificate that it has got since
  if (request.receivedAt <= issuedAtOf(device)) return reject(request, problems.answerLost, context);
  const unfit = templateProblem(request, context);
  if (unfit !== undefined) return reject(request, unfit, context);
  const claim: Claim = await context.registry.reopen(device, await claimOf(request, context));
  if (claim.outcome !== 'claimed') return { outcome: 'busy', untilMs: context.now() };
  context.notices.reopened(request, device.certificateId);
  return vendOrRelease(request, claim.device, context);
}

/** Step 1. A key that was made for it is kept for the next request where nothing was claimed. */
async function claimOnce(request: ProvisioningRequest, context: ProvisionContext): Promise<Claim> {
  const claimRequest = await claimOf(request, context);
  const claim = await context.registry.claim(claimRequest);
  const { ownKey: unused } = claimRequest.intends;
  if (claim.outcome !== 'claimed' && unused !== undefined) context.spareKeys.giveBack(request, unused);
  return claim;
}

async function claimOf(request: ProvisioningRequest, context: ProvisionContext) {
  const { serial, tokenHash, requestId } = request;
  const { now, leaseMs, site } = context;
  const intends = await intendedFor(request, context);
  return { serial, tokenHash, now: now(), leaseMs, claimedBy: requestId, site, intends };
}

function attachmentOf(device: Device, certificateId: string, policyName: string) {
  const group = device.thingGroupName === undefined ? {} : { thingGroupName: device.thingGroupName };
  return { certificateId, thingName: device.serial, policyName: device.policyName ?? policyName, ...group };
}

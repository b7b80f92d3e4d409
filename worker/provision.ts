import { type Certificate, CsrRefused, didNothing, type Issuer, type KeySource } from '../issuer/issuer.ts';
import { abandonCertificate, deletePending } from '../issuer/withdrawal.ts';
import type { Answer, Credentials } from '../protocol/answer.ts';
import type { Problem } from '../protocol/problems.ts';
import { problem, problems } from '../protocol/problems.ts';
import type { Acknowledgement, ProvisioningRequest } from '../queue/provisioning-request.ts';
import { recipientIdOf } from '../queue/provisioning-request.ts';
import type { ReplyStore } from '../queue/replies.ts';
import type { Attempts } from '../registry/attempts.ts';
import type { Deletions } from '../registry/deletions.ts';
import type { Device, OwnKey } from '../registry/device.ts';
import type { Devices } from '../registry/devices.ts';
import { UpstreamRefused } from '../runtime/upstream.ts';
import type { Sealer } from '../sealing/replies.ts';
import type { EcKey } from './ec-key.ts';

/** Everything that `provision` acts on, and what it must know. */
export type ProvisionContext = {
  readonly registry: Attempts & Deletions & Pick<Devices, 'find'>;
  readonly issuer: Issuer;
  readonly replies: ReplyStore;
  readonly rootCaPem: string;
  /** the IoT policy of devices whose row names no other */
  readonly policyName: string;
  readonly replayWindowMs: number;
  /** how long one attempt may take before another may take it up */
  readonly leaseMs: number;
  /** epoch milliseconds */
  now(): number;
  /** a key pair for a device that leaves it to the gateway */
  makeKey(serial: string): Promise<EcKey>;
  readonly seal: Sealer;
};

/** `busy`: another attempt of the same device is under way; ask again later. */
export type Provisioned =
  | { readonly outcome: 'accepted'; readonly certificateId: string; readonly again: boolean }
  | {
      readonly outcome: 'rejected';
      readonly problem: Problem /** what the operator must change */;
      readonly cause?: UpstreamRefused;
    }
  | { readonly outcome: 'busy'; readonly untilMs: number };

/** Whatever a device asks for, while AWS refuses for good, ends here: asking AWS again changes nothing until a person acts. */
export async function provision(request: ProvisioningRequest, context: ProvisionContext): Promise<Provisioned> {
  try {
    return await issuanceCycle(request, context);
  } catch (error) {
    if (!(error instanceof UpstreamRefused)) throw error;
    const recipientId = recipientIdOf(request.serial, request.tokenHash);
    return { ...(await reject(request, recipientId, problems.upstreamRefuses, context)), cause: error };
  }
}

/**
 * The issuance cycle, the product. The steps are those of docs/architecture.md. What is about to exist is written down
 * before it does, what is about to be deleted is marked for deletion before it is, and the certificate goes live last: whoever
 * takes up an attempt that died finds in the row and in the kept reply how far it came, and carries on or withdraws.
 *
 * A refusal is a value; whatever throws is an outage, and the question is asked again.
 */
async function issuanceCycle(request: ProvisioningRequest, context: ProvisionContext): Promise<Provisioned> {
  const { registry } = context;
  const recipientId = recipientIdOf(request.serial, request.tokenHash);

  // 1 claim: one conditional write is the decision
  const claim = await registry.claim({
    serial: request.serial,
    tokenHash: request.tokenHash,
    now: context.now(),
    leaseMs: context.leaseMs,
    claimedBy: request.requestId,
  });
  if (claim.outcome === 'busy') return { outcome: 'busy', untilMs: claim.until };
  if (claim.outcome === 'refused') return reject(request, recipientId, claim.problem, context);
  if (claim.outcome === 'registered') return repeat(request, recipientId, claim.device, context);
  return vendOrRelease(request, recipientId, claim.device, context);
}

async function vendOrRelease(
  request: ProvisioningRequest,
  recipientId: string,
  device: Device,
  context: ProvisionContext,
): Promise<Provisioned> {
  try {
    return await vend(request, recipientId, device, context);
  } catch (error) {
    const nothingMade = error instanceof NothingIssued;
    const outage = nothingMade ? error.cause : error;
    // the next attempt need not wait for the lease; if this write fails as well, it waits
    await context.registry.release(request.serial, device.attempt, nothingMade).catch(() => false);
    if (outage instanceof UpstreamRefused) await forgetDeleted(recipientId, device, context);
    throw outage;
  }
}

/** The create call of this attempt failed, and certainly made nothing. `cause` is its error. */
class NothingIssued extends Error {
  constructor(cause: unknown) {
    super('nothing was issued', { cause });
  }
}

/** Steps 2 to 10, for the one who holds the claim. */
async function vend(
  request: ProvisioningRequest,
  recipientId: string,
  device: Device,
  context: ProvisionContext,
): Promise<Provisioned> {
  const { registry, issuer, replies } = context;

  if (await isOfAnother(request, device, registry)) {
    await registry.release(request.serial, device.attempt);
    return reject(request, recipientId, problems.sharedKey, context);
  }

  // 2–5 intend, issue, record, seal – or find that an earlier attempt came that far
  const ready =
    (await resume(request, device, recipientId, context)) ??
    (await issueAndRecord(request, recipientId, device, context));
  if ('problem' in ready) return reject(request, recipientId, ready.problem, context);
  if ('lost' in ready) return { outcome: 'busy', untilMs: context.now() };
  const { certificateId, sealed } = ready;

  // 6 attach: thing and policy, in parallel
  await issuer.attach(identityOf(device, certificateId, context.policyName));

  // 7 make way: whatever the device had is deleted first. INACTIVE would not do: a worker that was frozen in the middle
  // of an earlier attempt may still activate what is there, and then there would be two
  await deletePending(device, context);
  if (device.previousCertificateId !== undefined) await issuer.withdraw(device.previousCertificateId);

  // 8 activate: live last
  await issuer.activate(certificateId);

  // 9 finish: the device is registered
  if (!(await registry.finish(request.serial, device.attempt, certificateId, context.now()))) {
    // somebody else has had the last word meanwhile: the operator, the sweeper or a later attempt
    await abandonCertificate(request.serial, certificateId, context);
    return { outcome: 'busy', untilMs: context.now() };
  }

  // 10 hand over
  await replies.deliver({ requestId: request.requestId, recipientId, sealed });
  return { outcome: 'accepted', certificateId, again: false };
}

/** Whether the device asks with the key of another one: two certificates for one key are one secret in two places. */
async function isOfAnother(
  { serial, keyDigest }: ProvisioningRequest,
  device: Device,
  registry: Attempts,
): Promise<boolean> {
  if (keyDigest === undefined || keyDigest === device.keyDigest) return false;
  return !(await registry.bindKey(serial, keyDigest));
}

/** A recorded certificate and its sealed answer; or why there is none. `lost`: this attempt is not the latest any more. */
type Ready =
  | { readonly certificateId: string; readonly sealed: string }
  | { readonly problem: Problem }
  | { readonly lost: true };

/** An earlier attempt's certificate, when its sealed reply is still there; otherwise that certificate is withdrawn. */
async function resume(
  request: ProvisioningRequest,
  device: Device,
  recipientId: string,
  context: ProvisionContext,
): Promise<Ready | undefined> {
  const { registry, issuer, replies } = context;
  const { certificateId, serial, attempt } = device;
  if (certificateId === undefined) return undefined;
  const sealed = await replies.kept(recipientId, certificateId);
  if (sealed !== undefined && device.keyDigest === request.keyDigest) {
    await issuer.ensureThing(serial, device.thingTypeName);
    return { certificateId, sealed };
  }
  // nobody holds its private key any more, or the device has another by now. Condemned first: an attempt that finds the
  // reply after all must not carry on with what is being deleted
  if (!(await registry.discardCertificate(serial, attempt, certificateId))) return { lost: true };
  await deletePending({ serial, pendingDeletion: [certificateId] }, context);
  await replies.erase(recipientId, certificateId);
  return undefined;
}

async function issueAndRecord(
  request: ProvisioningRequest,
  recipientId: string,
  device: Device,
  context: ProvisionContext,
): Promise<Ready> {
  const { registry, issuer, replies } = context;
  const { serial, attempt } = device;
  const endpoint = await issuer.endpoint();
  // the thing does not depend on the certificate, and is waited for at the end: a thing that could not be made must not
  // let a certificate that was made be forgotten
  const thing = issuer.ensureThing(serial, device.thingTypeName);
  thing.catch(() => {});

  // 2–3 intend, issue – or adopt what an earlier attempt made
  const issued = await adoptOrIssue(request, recipientId, device, context);
  if (!('certificate' in issued)) return issued;
  const { certificate, sealedKey, createdBy } = issued;
  const { certificateId } = certificate;

  // 4 record: now it can never be forgotten. Who lost the lease meanwhile takes back what it made.
  const recorded = {
    certificateId,
    ...(request.keyDigest === undefined ? {} : { keyDigest: request.keyDigest }),
    ...(createdBy === undefined ? {} : { createdBy }),
  };
  if (!(await registry.recordCertificate(serial, attempt, recorded))) {
    await abandonCertificate(serial, certificateId, context);
    return { lost: true };
  }

  // 5 seal: an RSA private key exists nowhere else, so it is safe before the certificate is live
  const answer = {
    status: 'accepted' as const,
    credentials: credentials(certificate, serial, endpoint, context.rootCaPem),
  };
  const sealed = context.seal.answer(request.replyKey, recipientId, answer, sealedKey);
  await replies.keep(recipientId, certificateId, sealed, context.replayWindowMs);
  await thing;
  return { certificateId, sealed };
}

type Issued =
  | { readonly certificate: Certificate; readonly sealedKey?: string; readonly createdBy?: number }
  | Exclude<Ready, { certificateId: string }>;

/** Steps 2 and 3. With a key that is known before the certificate, an answer that was lost costs no second one. */
async function adoptOrIssue(
  request: ProvisioningRequest,
  recipientId: string,
  device: Device,
  context: ProvisionContext,
): Promise<Issued> {
  const { registry, issuer, now } = context;
  const { serial, attempt } = device;
  const key = await keyFor(request, recipientId, device, context);
  const ours = key.sealedKey === undefined ? {} : { sealedKey: key.sealedKey };

  const adopted = await adopt(key.keyDigest, device, issuer);
  if (adopted !== undefined) return { ...adopted, ...ours };

  // 2 intend: who finds this row after a crash knows what to look for, and when it was made
  const call = { at: now(), ...(key.keyDigest === undefined ? {} : { keyDigest: key.keyDigest }) };
  if (!(await registry.recordCreateIntent(serial, attempt, call, key.ownKey))) return { lost: true };
  // frozen between the two: what is created now would lie outside the time that is written down
  if (now() > call.at + context.leaseMs) throw new Error('woke up too late to create a certificate');

  // 3 issue: the certificate exists, INACTIVE
  try {
    return { certificate: await issuer.issue(key.source), createdBy: attempt, ...ours };
  } catch (error) {
    if (!(error instanceof CsrRefused) || request.csrPem === undefined)
      throw didNothing(error) ? new NothingIssued(error) : error;
    await registry.release(serial, attempt, true);
    return { problem: problem('InvalidCsr', `AWS IoT refuses this CSR: ${error.message}`) };
  }
}

/** The certificate of a create call whose answer was lost, by its public key. */
async function adopt(
  keyDigest: string | undefined,
  device: Device,
  issuer: Issuer,
): Promise<{ certificate: Certificate; createdBy?: number } | undefined> {
  const lost = Object.entries(device.createIntents ?? {}).filter(([, call]) => call.keyDigest === keyDigest);
  if (keyDigest === undefined || lost.length === 0) return undefined;
  const since = Math.min(...lost.map(([, { at }]) => at));
  const certificate = await issuer.findInactive(keyDigest, since, device.pendingDeletion ?? []);
  if (certificate === undefined) return undefined;
  // of several calls, nobody knows which one made it: the sweeper looks whether there is another
  const [[attempt] = ['']] = lost;
  return { certificate, ...(lost.length === 1 ? { createdBy: Number(attempt) } : {}) };
}

type Key = {
  readonly source: KeySource;
  readonly keyDigest?: string;
  readonly sealedKey?: string;
  /** to be written down, since it is new */
  readonly ownKey?: OwnKey;
};

/** The device's key, ours – that of an earlier attempt, where there is one – or one that AWS is to make. */
async function keyFor(
  request: ProvisioningRequest,
  recipientId: string,
  device: Device,
  context: ProvisionContext,
): Promise<Key> {
  if (request.csrPem !== undefined && request.keyDigest !== undefined)
    return { source: { csrPem: request.csrPem }, keyDigest: request.keyDigest };
  if (request.key === 'rsa') return { source: 'rsa' };
  const { ownKey: earlier } = device;
  if (earlier !== undefined) return { source: { csrPem: earlier.csrPem }, ...earlier };
  const { privateKeyPem, csrPem, keyDigest } = await context.makeKey(request.serial);
  const sealedKey = context.seal.privateKey(request.replyKey, recipientId, privateKeyPem);
  return { source: { csrPem }, keyDigest, sealedKey, ownKey: { csrPem, keyDigest, sealedKey } };
}

/** AWS refuses: perhaps because it no longer knows the certificate of an earlier attempt. Then the next one begins anew. */
async function forgetDeleted(
  recipientId: string,
  device: Device,
  { issuer, replies }: ProvisionContext,
): Promise<void> {
  if (device.certificateId === undefined) return;
  const found = await issuer.describeCertificate(device.certificateId).catch(() => 'unknown' as const);
  if (found === undefined) await replies.erase(recipientId, device.certificateId);
}

/**
 * The second question. In the replay window the same token gets the same answer for as long as it is kept, without a
 * call to AWS. If it is lost, the certificate that nobody can use is withdrawn before another goes live: still one.
 */
async function repeat(
  request: ProvisioningRequest,
  recipientId: string,
  device: Device,
  context: ProvisionContext,
): Promise<Provisioned> {
  const { registry, replies } = context;
  const now = context.now();
  const over =
    device.deliveredAt !== undefined || now >= (device.issuedAt ?? device.requestedAt) + context.replayWindowMs;
  if (over) {
    if (device.certificateId !== undefined) await replies.erase(recipientId, device.certificateId);
    return reject(request, recipientId, problems.alreadyProvisioned, context);
  }
  if (request.keyDigest !== undefined && request.keyDigest !== device.keyDigest)
    return reject(request, recipientId, problems.keyMismatch, context);

  const { certificateId } = device;
  const sealed = certificateId === undefined ? undefined : await replies.kept(recipientId, certificateId);
  if (certificateId !== undefined && sealed !== undefined) {
    await replies.deliver({ requestId: request.requestId, recipientId, sealed });
    return { outcome: 'accepted', certificateId, again: true };
  }
  const claim = await registry.reopen(device, {
    serial: request.serial,
    tokenHash: request.tokenHash,
    now,
    leaseMs: context.leaseMs,
    claimedBy: request.requestId,
  });
  if (claim.outcome !== 'claimed') return { outcome: 'busy', untilMs: now };
  return vendOrRelease(request, recipientId, claim.device, context);
}

/**
 * The device has stored its certificate: the token is spent for good, and the sealed reply is erased. An acknowledgement
 * that fits nothing changes nothing. @returns whether it fitted
 */
export async function acknowledge(
  acknowledgement: Acknowledgement,
  context: Pick<ProvisionContext, 'registry' | 'replies' | 'now'>,
): Promise<boolean> {
  const spent = await context.registry.acknowledge(
    acknowledgement.serial,
    acknowledgement.tokenHash,
    acknowledgement.certificateId,
    context.now(),
  );
  if (spent)
    await context.replies.erase(
      recipientIdOf(acknowledgement.serial, acknowledgement.tokenHash),
      acknowledgement.certificateId,
    );
  return spent;
}

/** Answers a question with a refusal, whatever its device is. */
export async function refuse(request: ProvisioningRequest, reason: Problem, context: ProvisionContext): Promise<void> {
  await reject(request, recipientIdOf(request.serial, request.tokenHash), reason, context);
}

async function reject(
  request: ProvisioningRequest,
  recipientId: string,
  reason: Problem,
  context: ProvisionContext,
): Promise<Extract<Provisioned, { outcome: 'rejected' }>> {
  const answer: Answer = { status: 'rejected', problem: reason };
  await context.replies.deliver({
    requestId: request.requestId,
    recipientId,
    sealed: context.seal.answer(request.replyKey, recipientId, answer),
  });
  return { outcome: 'rejected', problem: reason };
}

function identityOf(device: Device, certificateId: string, policyName: string) {
  const group = device.thingGroupName === undefined ? {} : { thingGroupName: device.thingGroupName };
  return { certificateId, thingName: device.serial, policyName: device.policyName ?? policyName, ...group };
}

function credentials(certificate: Certificate, serial: string, endpoint: string, rootCaPem: string): Credentials {
  const { certificateId, certificatePem, privateKeyPem } = certificate;
  return {
    certificateId,
    certificatePem,
    ...(privateKeyPem === undefined ? {} : { privateKeyPem }),
    thingName: serial,
    endpoint,
    rootCaPem,
  };
}

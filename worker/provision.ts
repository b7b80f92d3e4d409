import type { Problem } from '../protocol/problems.ts';
import { problem, problems } from '../protocol/problems.ts';
import type { Answer, Credentials } from '../protocol/reply.ts';
import type { Ack, Ask } from '../queue/ask.ts';
import { boxOf } from '../queue/ask.ts';
import type { KeptReply, ReplyStore } from '../queue/replies.ts';
import { sealAnswer } from '../queue/sealing.ts';
import type { Device, Registry } from '../registry/registry.ts';
import { makeEcKey } from './ec-key.ts';
import { type Certificate, CsrRefused, type Issuer, IssuerRefused } from './issuer.ts';

/** Everything that `provision` acts on, and what it must know. */
export type Cycle = {
  readonly registry: Registry;
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
};

/** `busy`: another attempt of the same device is under way; ask again later. */
export type Provisioned =
  | { readonly outcome: 'accepted'; readonly certificateId: string; readonly again: boolean }
  | {
      readonly outcome: 'rejected';
      readonly problem: Problem /** what the operator must change */;
      readonly cause?: IssuerRefused;
    }
  | { readonly outcome: 'busy'; readonly untilMs: number };

/**
 * The issuance cycle, the product. The steps are those of docs/architecture.md. What is about to exist is written down
 * before it acts, and the certificate goes live last: whoever takes up an attempt that died finds in the row and in the
 * kept reply how far it came, and carries on or withdraws.
 *
 * A refusal is a value; whatever throws is an outage, and the question is asked again.
 */
export async function provision(ask: Ask, cycle: Cycle): Promise<Provisioned> {
  const { registry } = cycle;
  const box = boxOf(ask.serial, ask.tokenHash);

  // 1 claim: one conditional write is the decision
  const claim = await registry.claim({
    serial: ask.serial,
    tokenHash: ask.tokenHash,
    now: cycle.now(),
    leaseMs: cycle.leaseMs,
    claimant: ask.askId,
  });
  if (claim.outcome === 'busy') return { outcome: 'busy', untilMs: claim.until };
  if (claim.outcome === 'refused') return reject(ask, box, claim.problem, cycle);
  if (claim.outcome === 'registered') return repeat(ask, box, claim.device, cycle);
  return vendOrRelease(ask, box, claim.device, cycle);
}

async function vendOrRelease(ask: Ask, box: string, device: Device, cycle: Cycle): Promise<Provisioned> {
  try {
    return await vend(ask, box, device, cycle);
  } catch (outage) {
    // the next attempt need not wait for the lease; if this write fails as well, it waits
    await cycle.registry.release(ask.serial, device.attempt).catch(() => false);
    if (!(outage instanceof IssuerRefused)) throw outage;
    // a certificate of an earlier attempt may be what AWS no longer knows: the next attempt begins anew
    if (device.certificateId !== undefined) await cycle.replies.erase(box);
    // asking AWS again changes nothing; the device may, later, when a person has
    return { ...(await reject(ask, box, problems.upstreamRefuses, cycle)), cause: outage };
  }
}

/** Steps 2 to 8, for the one who holds the claim. */
async function vend(ask: Ask, box: string, device: Device, cycle: Cycle): Promise<Provisioned> {
  const { registry, issuer, replies } = cycle;

  // 2–4 issue, record, seal – or find that an earlier attempt came that far
  const issued = (await resume(ask, device, box, cycle)) ?? (await issueAndRecord(ask, box, device, cycle));
  if ('problem' in issued) return reject(ask, box, issued.problem, cycle);
  if ('lost' in issued) return { outcome: 'busy', untilMs: cycle.now() };
  const { certificateId, sealed } = issued.reply;

  // 5 attach: thing and policy, in parallel
  await issuer.attach(identityOf(device, certificateId, cycle.policyName));

  // 6 activate: live last. A certificate that this one replaces goes first: there is never more than one.
  const previous = device.previousCertificateId;
  if (previous !== undefined) await issuer.deactivate(previous);
  await issuer.activate(certificateId);
  if (previous !== undefined) await issuer.withdraw(previous);

  // 7 finish: the device is registered
  if (!(await registry.finish(ask.serial, device.attempt, certificateId, cycle.now())))
    return overtaken(ask, certificateId, cycle);

  // 8 hand over
  await replies.deliver({ askId: ask.askId, box, sealed });
  return { outcome: 'accepted', certificateId, again: false };
}

/**
 * Somebody else has had the last word while this attempt was under way: the operator, or a later attempt. What is not the
 * device's certificate must not stay live.
 */
async function overtaken(ask: Ask, certificateId: string, cycle: Cycle): Promise<Provisioned> {
  const row = await cycle.registry.find(ask.serial);
  if (row?.certificateId !== certificateId) await cycle.issuer.withdraw(certificateId);
  else if (row.applyState === -2) await cycle.issuer.deactivate(certificateId);
  return { outcome: 'busy', untilMs: cycle.now() };
}

type Issued = { readonly reply: KeptReply } | { readonly problem: Problem } | { readonly lost: true };

/** An earlier attempt's certificate, when its sealed reply is still there; otherwise that certificate is withdrawn. */
async function resume(ask: Ask, device: Device, box: string, cycle: Cycle): Promise<Issued | undefined> {
  if (device.certificateId === undefined) return undefined;
  const kept = await cycle.replies.kept(box);
  if (kept?.certificateId === device.certificateId && device.keyDigest === ask.keyDigest) {
    await cycle.issuer.ensureThing(device.serial, device.thingTypeName);
    return { reply: kept };
  }
  // nobody holds its private key any more, or the device has another by now: nobody can use it, so nobody shall
  await cycle.issuer.withdraw(device.certificateId);
  return undefined;
}

async function issueAndRecord(ask: Ask, box: string, device: Device, cycle: Cycle): Promise<Issued> {
  const { registry, issuer, replies } = cycle;

  // 2 issue: the certificate exists, INACTIVE. The thing does not depend on it, and is waited for at the end: a thing
  // that could not be made must not let a certificate that was made be forgotten
  const endpoint = await issuer.endpoint();
  const thing = issuer.ensureThing(ask.serial, device.thingTypeName);
  thing.catch(() => {});
  const issued = await issue(ask, issuer);
  if ('problem' in issued) {
    await registry.release(ask.serial, device.attempt);
    return issued;
  }
  const { certificate } = issued;

  // 3 record: now it can never be forgotten. Who lost the lease meanwhile takes back what it made.
  if (!(await registry.record(ask.serial, device.attempt, certificate.certificateId, ask.keyDigest))) {
    await issuer.withdraw(certificate.certificateId);
    return { lost: true };
  }

  // 4 seal: the private key exists nowhere else, so it is safe before the certificate is live
  const reply = {
    certificateId: certificate.certificateId,
    sealed: sealAnswer(ask.replyKey, box, {
      accepted: credentials(certificate, ask.serial, endpoint, cycle.rootCaPem),
    }),
  };
  await replies.keep(box, reply, cycle.replayWindowMs);
  await thing;
  return { reply };
}

async function issue(ask: Ask, issuer: Issuer): Promise<{ certificate: Certificate } | { problem: Problem }> {
  try {
    if (ask.csrPem !== undefined) return { certificate: await issuer.issue({ csrPem: ask.csrPem }) };
    if (ask.key === 'rsa') return { certificate: await issuer.issue('rsa') };
    const own = await makeEcKey(ask.serial);
    return { certificate: { ...(await issuer.issue({ csrPem: own.csrPem })), privateKeyPem: own.privateKeyPem } };
  } catch (error) {
    if (error instanceof CsrRefused && ask.csrPem !== undefined)
      return { problem: problem('InvalidCsr', `AWS IoT refuses this CSR: ${error.message}`) };
    throw error;
  }
}

/**
 * The second question. In the replay window the same token gets the same answer for as long as it is kept, without a
 * call to AWS. If it is lost, the certificate that nobody can use is withdrawn before another goes live: still one.
 */
async function repeat(ask: Ask, box: string, device: Device, cycle: Cycle): Promise<Provisioned> {
  const { registry, replies } = cycle;
  const now = cycle.now();
  const over =
    device.deliveredAt !== undefined || now >= (device.issuedAt ?? device.requestedAt) + cycle.replayWindowMs;
  if (over) {
    await replies.erase(box);
    return reject(ask, box, problems.alreadyProvisioned, cycle);
  }
  if (ask.keyDigest !== undefined && ask.keyDigest !== device.keyDigest)
    return reject(ask, box, problems.keyMismatch, cycle);

  const kept = await replies.kept(box);
  if (kept !== undefined && kept.certificateId === device.certificateId) {
    await replies.deliver({ askId: ask.askId, box, sealed: kept.sealed });
    return { outcome: 'accepted', certificateId: kept.certificateId, again: true };
  }
  const claim = await registry.reopen(device, {
    serial: ask.serial,
    tokenHash: ask.tokenHash,
    now,
    leaseMs: cycle.leaseMs,
    claimant: ask.askId,
  });
  if (claim.outcome !== 'claimed') return { outcome: 'busy', untilMs: now };
  return vendOrRelease(ask, box, claim.device, cycle);
}

/**
 * The device has stored its certificate: the token is spent for good, and the sealed reply is erased. An acknowledgement
 * that fits nothing changes nothing. @returns whether it fitted
 */
export async function acknowledge(ack: Ack, cycle: Pick<Cycle, 'registry' | 'replies' | 'now'>): Promise<boolean> {
  const spent = await cycle.registry.acknowledge(ack.serial, ack.tokenHash, ack.certificateId, cycle.now());
  if (spent) await cycle.replies.erase(boxOf(ack.serial, ack.tokenHash));
  return spent;
}

async function reject(
  ask: Ask,
  box: string,
  reason: Problem,
  cycle: Cycle,
): Promise<Extract<Provisioned, { outcome: 'rejected' }>> {
  const answer: Answer = { rejected: reason };
  await cycle.replies.deliver({ askId: ask.askId, box, sealed: sealAnswer(ask.replyKey, box, answer) });
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

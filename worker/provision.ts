import {
  type Certificate,
  CsrRefused,
  didNothing,
  type Issuer,
  IssuerRefused,
  type KeySource,
} from '../issuer/issuer.ts';
import { abandon, withdrawCondemned } from '../issuer/withdrawal.ts';
import type { Answer, Credentials } from '../protocol/cvm/reply.ts';
import type { Problem } from '../protocol/problems.ts';
import { problem, problems } from '../protocol/problems.ts';
import type { Ack, Ask } from '../queue/provisioning-request.ts';
import { boxOf } from '../queue/provisioning-request.ts';
import type { ReplyStore } from '../queue/replies.ts';
import type { Device, OwnKey, Registry } from '../registry/registry.ts';
import type { Sealer } from '../sealing/replies.ts';
import type { EcKey } from './ec-key.ts';

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
      readonly cause?: IssuerRefused;
    }
  | { readonly outcome: 'busy'; readonly untilMs: number };

/**
 * The issuance cycle, the product. The steps are those of docs/architecture.md. What is about to exist is written down
 * before it does, what is about to be deleted is condemned before it is, and the certificate goes live last: whoever
 * takes up an attempt that died finds in the row and in the kept reply how far it came, and carries on or withdraws.
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
    await cycle.registry.release(ask.serial, device.attempt, didNothing(outage)).catch(() => false);
    if (!(outage instanceof IssuerRefused)) throw outage;
    await forgetDeleted(box, device, cycle);
    // asking AWS again changes nothing; the device may, later, when a person has
    return { ...(await reject(ask, box, problems.upstreamRefuses, cycle)), cause: outage };
  }
}

/** Steps 2 to 10, for the one who holds the claim. */
async function vend(ask: Ask, box: string, device: Device, cycle: Cycle): Promise<Provisioned> {
  const { registry, issuer, replies } = cycle;

  if (await isOfAnother(ask, device, registry)) {
    await registry.release(ask.serial, device.attempt);
    return reject(ask, box, problems.sharedKey, cycle);
  }

  // 2–5 intend, issue, record, seal – or find that an earlier attempt came that far
  const ready = (await resume(ask, device, box, cycle)) ?? (await issueAndRecord(ask, box, device, cycle));
  if ('problem' in ready) return reject(ask, box, ready.problem, cycle);
  if ('lost' in ready) return { outcome: 'busy', untilMs: cycle.now() };
  const { certificateId, sealed } = ready;

  // 6 attach: thing and policy, in parallel
  await issuer.attach(identityOf(device, certificateId, cycle.policyName));

  // 7 make way: whatever the device had is deleted first. INACTIVE would not do: a worker that was frozen in the middle
  // of an earlier attempt may still activate what is there, and then there would be two
  await withdrawCondemned(device, cycle);
  if (device.previousCertificateId !== undefined) await issuer.withdraw(device.previousCertificateId);

  // 8 activate: live last
  await issuer.activate(certificateId);

  // 9 finish: the device is registered
  if (!(await registry.finish(ask.serial, device.attempt, certificateId, cycle.now()))) {
    // somebody else has had the last word meanwhile: the operator, the sweeper or a later attempt
    await abandon(ask.serial, certificateId, cycle);
    return { outcome: 'busy', untilMs: cycle.now() };
  }

  // 10 hand over
  await replies.deliver({ askId: ask.askId, box, sealed });
  return { outcome: 'accepted', certificateId, again: false };
}

/** Whether the device asks with the key of another one: two certificates for one key are one secret in two places. */
async function isOfAnother({ serial, keyDigest }: Ask, device: Device, registry: Registry): Promise<boolean> {
  if (keyDigest === undefined || keyDigest === device.keyDigest) return false;
  return !(await registry.bindKey(serial, keyDigest));
}

/** A recorded certificate and its sealed answer; or why there is none. `lost`: this attempt is not the latest any more. */
type Ready =
  | { readonly certificateId: string; readonly sealed: string }
  | { readonly problem: Problem }
  | { readonly lost: true };

/** An earlier attempt's certificate, when its sealed reply is still there; otherwise that certificate is withdrawn. */
async function resume(ask: Ask, device: Device, box: string, cycle: Cycle): Promise<Ready | undefined> {
  const { registry, issuer, replies } = cycle;
  const { certificateId, serial, attempt } = device;
  if (certificateId === undefined) return undefined;
  const sealed = await replies.kept(box, certificateId);
  if (sealed !== undefined && device.keyDigest === ask.keyDigest) {
    await issuer.ensureThing(serial, device.thingTypeName);
    return { certificateId, sealed };
  }
  // nobody holds its private key any more, or the device has another by now. Condemned first: an attempt that finds the
  // reply after all must not carry on with what is being deleted
  if (!(await registry.discard(serial, attempt, certificateId))) return { lost: true };
  await withdrawCondemned({ serial, condemned: [certificateId] }, cycle);
  await replies.erase(box, certificateId);
  return undefined;
}

async function issueAndRecord(ask: Ask, box: string, device: Device, cycle: Cycle): Promise<Ready> {
  const { registry, issuer, replies } = cycle;
  const { serial, attempt } = device;
  const endpoint = await issuer.endpoint();
  // the thing does not depend on the certificate, and is waited for at the end: a thing that could not be made must not
  // let a certificate that was made be forgotten
  const thing = issuer.ensureThing(serial, device.thingTypeName);
  thing.catch(() => {});

  // 2–3 intend, issue – or adopt what an earlier attempt made
  const issued = await adoptOrIssue(ask, box, device, cycle);
  if (!('certificate' in issued)) return issued;
  const { certificate, sealedKey, createdBy } = issued;
  const { certificateId } = certificate;

  // 4 record: now it can never be forgotten. Who lost the lease meanwhile takes back what it made.
  const recorded = {
    certificateId,
    ...(ask.keyDigest === undefined ? {} : { keyDigest: ask.keyDigest }),
    ...(createdBy === undefined ? {} : { createdBy }),
  };
  if (!(await registry.record(serial, attempt, recorded))) {
    await abandon(serial, certificateId, cycle);
    return { lost: true };
  }

  // 5 seal: an RSA private key exists nowhere else, so it is safe before the certificate is live
  const accepted = credentials(certificate, serial, endpoint, cycle.rootCaPem);
  const sealed = cycle.seal.answer(ask.replyKey, box, { accepted }, sealedKey);
  await replies.keep(box, certificateId, sealed, cycle.replayWindowMs);
  await thing;
  return { certificateId, sealed };
}

type Issued =
  | { readonly certificate: Certificate; readonly sealedKey?: string; readonly createdBy?: number }
  | Exclude<Ready, { certificateId: string }>;

/** Steps 2 and 3. With a key that is known before the certificate, an answer that was lost costs no second one. */
async function adoptOrIssue(ask: Ask, box: string, device: Device, cycle: Cycle): Promise<Issued> {
  const { registry, issuer, now } = cycle;
  const { serial, attempt } = device;
  const key = await keyFor(ask, box, device, cycle);
  const ours = key.sealedKey === undefined ? {} : { sealedKey: key.sealedKey };

  const adopted = await adopt(key.keyDigest, device, issuer);
  if (adopted !== undefined) return { ...adopted, ...ours };

  // 2 intend: who finds this row after a crash knows what to look for, and when it was made
  const call = { at: now(), ...(key.keyDigest === undefined ? {} : { keyDigest: key.keyDigest }) };
  if (!(await registry.intend(serial, attempt, call, key.ownKey))) return { lost: true };
  // frozen between the two: what is created now would lie outside the time that is written down
  if (now() > call.at + cycle.leaseMs) throw new Error('woke up too late to create a certificate');

  // 3 issue: the certificate exists, INACTIVE
  try {
    return { certificate: await issuer.issue(key.source), createdBy: attempt, ...ours };
  } catch (error) {
    if (!(error instanceof CsrRefused) || ask.csrPem === undefined) throw error;
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
  const lost = Object.entries(device.creates ?? {}).filter(([, call]) => call.keyDigest === keyDigest);
  if (keyDigest === undefined || lost.length === 0) return undefined;
  const since = Math.min(...lost.map(([, { at }]) => at));
  const certificate = await issuer.findInactive(keyDigest, since, device.condemned ?? []);
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
async function keyFor(ask: Ask, box: string, device: Device, cycle: Cycle): Promise<Key> {
  if (ask.csrPem !== undefined && ask.keyDigest !== undefined)
    return { source: { csrPem: ask.csrPem }, keyDigest: ask.keyDigest };
  if (ask.key === 'rsa') return { source: 'rsa' };
  const { ownKey: earlier } = device;
  if (earlier !== undefined) return { source: { csrPem: earlier.csrPem }, ...earlier };
  const { privateKeyPem, csrPem, keyDigest } = await cycle.makeKey(ask.serial);
  const sealedKey = cycle.seal.privateKey(ask.replyKey, box, privateKeyPem);
  return { source: { csrPem }, keyDigest, sealedKey, ownKey: { csrPem, keyDigest, sealedKey } };
}

/** AWS refuses: perhaps because it no longer knows the certificate of an earlier attempt. Then the next one begins anew. */
async function forgetDeleted(box: string, device: Device, { issuer, replies }: Cycle): Promise<void> {
  if (device.certificateId === undefined) return;
  const found = await issuer.inspect(device.certificateId).catch(() => 'unknown' as const);
  if (found === undefined) await replies.erase(box, device.certificateId);
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
    if (device.certificateId !== undefined) await replies.erase(box, device.certificateId);
    return reject(ask, box, problems.alreadyProvisioned, cycle);
  }
  if (ask.keyDigest !== undefined && ask.keyDigest !== device.keyDigest)
    return reject(ask, box, problems.keyMismatch, cycle);

  const { certificateId } = device;
  const sealed = certificateId === undefined ? undefined : await replies.kept(box, certificateId);
  if (certificateId !== undefined && sealed !== undefined) {
    await replies.deliver({ askId: ask.askId, box, sealed });
    return { outcome: 'accepted', certificateId, again: true };
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
  if (spent) await cycle.replies.erase(boxOf(ack.serial, ack.tokenHash), ack.certificateId);
  return spent;
}

/** Answers a question with a refusal, whatever its device is. */
export async function refuse(ask: Ask, reason: Problem, cycle: Cycle): Promise<void> {
  await reject(ask, boxOf(ask.serial, ask.tokenHash), reason, cycle);
}

async function reject(
  ask: Ask,
  box: string,
  reason: Problem,
  cycle: Cycle,
): Promise<Extract<Provisioned, { outcome: 'rejected' }>> {
  const answer: Answer = { rejected: reason };
  await cycle.replies.deliver({ askId: ask.askId, box, sealed: cycle.seal.answer(ask.replyKey, box, answer) });
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

import { deletePending } from '../issuer/withdrawal.ts';
import { type Problem, problems } from '../protocol/problems.ts';
import { isSerial } from '../protocol/serial.ts';
import { sameHash } from '../protocol/token.ts';
import type { Acknowledgement, AskedRegistration } from '../queue/provisioning-request.ts';
import {
  type ClaimCertificate,
  type ClaimCertificates,
  type WaitingCertificate,
  waitingMs,
} from '../registry/claim-certificates.ts';
import type { Device } from '../registry/device.ts';
import { serves } from '../registry/site.ts';
import { UpstreamRefused } from '../runtime/upstream.ts';
import { goLive, type LastStepsContext, type ProvisionContext } from './provision.ts';
import { claimProblems } from './waiting-certificate.ts';

export type GiveContext = LastStepsContext &
  Pick<ProvisionContext, 'leaseMs' | 'site'> & { readonly claims: ClaimCertificates };

/** A registration on a connection that a claim certificate stands for. */
export type ClaimedRegistration = Omit<Acknowledgement, 'registration'> &
  Required<Pick<Acknowledgement, 'claim'>> & { readonly registration: AskedRegistration };

type Refused = { readonly problem: Problem; readonly cause?: UpstreamRefused };

/** Whether this claim certificate may be used for this: asked before anything else, so that a stranger learns nothing of templates. */
export async function judgeClaim(
  { claim: id, registration }: ClaimedRegistration,
  { claims, now }: Pick<GiveContext, 'claims' | 'now'>,
): Promise<ClaimCertificate | { readonly problem: Problem }> {
  const claim = await claims.find(id);
  if (claim === undefined) return { problem: problems.claimUnknown };
  if (claim.revokedAt !== undefined) return { problem: problems.claimRevoked };
  if (claim.endsAt <= now()) return { problem: problems.claimEnded };
  return claim.templateName === registration.templateName ? claim : { problem: problems.claimsOtherTemplate };
}

/**
 * Gives a certificate that waits to the device of this serial, by steps 1 and 4 to 8 of the issuance cycle: the row of the device
 * decides, as for a certificate that was made for it. Repeating it changes nothing.
 * @returns the device as it is known from now on, or why it may not have the certificate
 */
export async function giveCertificate(
  asked: ClaimedRegistration,
  claim: ClaimCertificate,
  serial: string,
  context: GiveContext,
): Promise<Pick<Device, 'serial' | 'tokenHash'> | Refused> {
  const { registry, claims, now } = context;
  const { certificateId } = asked;
  if (!isSerial(serial) || !fits(serial, claim.serials)) return { problem: problems.claimsOtherSerial };
  const device = await registry.find(serial);
  if (device?.state === 'registered' && device.certificateId === certificateId) {
    await forgetGiven(claim.id, certificateId, context);
    return { serial, tokenHash: device.tokenHash };
  }
  const unfit = judgeDevice(device, asked, claim, context.site);
  if (unfit !== undefined || device === undefined)
    return takeBack(asked, serial, unfit ?? problems.claimsOtherSerial, context);
  const given = await claims.give(claim.id, certificateId, { serial, now: now(), madeAfter: now() - waitingMs });
  if (given === 'not-waiting') return { problem: problems.waitingOver };
  if (typeof given === 'string') return { problem: claimProblems[given] };

  // 1 claim: the row's own token hash stands for the device, so that a reissue meanwhile ends this
  const { tokenHash } = device;
  const { leaseMs, site } = context;
  const claimedBy = asked.registration.requestId;
  const claimed = await registry.claim({ serial, tokenHash, now: now(), leaseMs, claimedBy, site });
  if (claimed.outcome === 'busy') throw new Error('another attempt of the device is under way: tried again');
  if (claimed.outcome === 'refused') return takeBack(asked, serial, claimed.problem, context);
  if (claimed.outcome === 'registered') throw new Error('the device was registered meanwhile: judged again');
  const problem = await completeOrRelease(asked, claimed.device, given, context);
  if (problem !== undefined) return takeBack(asked, serial, problem, context);
  await claims.forget(claim.id, given);
  return { serial, tokenHash };
}

/** @returns why this device may not have a certificate by this claim certificate */
function judgeDevice(
  device: Device | undefined,
  { registration: { deviceTokenHash } }: ClaimedRegistration,
  { group }: ClaimCertificate,
  site: string | undefined,
): Problem | undefined {
  // with a token that is wrong, the group does not help
  const hasToken = device !== undefined && deviceTokenHash !== undefined && sameHash(device.tokenHash, deviceTokenHash);
  if (deviceTokenHash !== undefined && !hasToken) return problems.invalidToken;
  if (device === undefined || !serves(site, device.site)) return problems.claimsOtherSerial;
  if (!hasToken && device.claimGroup !== group) return problems.claimsOtherSerial;
  if (device.state === 'blocked') return problems.blocked;
  const hasHad = device.state === 'registered' || (!hasToken && device.previousCertificateId !== undefined);
  return hasHad ? problems.claimsProvisioned : undefined;
}

/** When it fails, the claim of the row is given back, as `provision` does. @returns why the device cannot have the certificate */
async function completeOrRelease(
  asked: ClaimedRegistration,
  device: Device,
  given: WaitingCertificate,
  context: GiveContext,
): Promise<Problem | undefined> {
  const { registry, issuer } = context;
  try {
    return await complete(asked, device, given, context);
  } catch (error) {
    const { certificateId } = asked;
    const isGone =
      error instanceof UpstreamRefused &&
      (await issuer.describeCertificate(certificateId).catch(() => 'unknown')) === undefined;
    if (isGone) await registry.discardCertificate(device, certificateId).catch(() => false);
    await registry.release(device).catch(() => false);
    if (isGone) return problems.waitingOver;
    throw error;
  }
}

async function complete(
  { registration: { requestId }, certificateId }: ClaimedRegistration,
  device: Device,
  { keyDigest }: WaitingCertificate,
  context: GiveContext,
): Promise<Problem | undefined> {
  const { registry, issuer } = context;
  const { serial, certificateId: earlier } = device;
  if (earlier !== undefined && earlier !== certificateId) {
    if (!(await registry.discardCertificate(device, earlier))) throw overtaken();
    await deletePending({ serial, pendingDeletion: [earlier] }, context);
  }
  // the thing is made meanwhile, as `provision` does
  const thing = issuer.ensureThing(serial, device.thingTypeName);
  thing.catch(() => {});

  // 4 record: without a reply, since the device has the certificate already
  const recorded = await registry.recordCertificate(device, {
    certificateId,
    ...(keyDigest === undefined ? {} : { keyDigest }),
  });
  if (recorded === 'key-taken') {
    await registry.release(device);
    return problems.sharedKey;
  }
  if (recorded === 'overtaken') return isEnded(serial, certificateId, context);
  await thing;

  // 5 to 8
  if (await goLive({ request: { serial, requestId }, device, intents: [] }, certificateId, context)) return undefined;
  return isEnded(serial, certificateId, context);
}

/** Another attempt or decision was written. @returns why this certificate cannot be the device's any more @throws when it still may */
async function isEnded(
  serial: string,
  certificateId: string,
  { registry }: Pick<GiveContext, 'registry'>,
): Promise<Problem> {
  const row = await registry.find(serial);
  const { pendingDeletion = [], deleted = [] } = row ?? {};
  if (row === undefined || [...pendingDeletion, ...deleted].includes(certificateId)) return problems.waitingOver;
  throw overtaken();
}

const overtaken = () => new Error('another attempt or decision was written meanwhile: judged again');

/** The certificate is over where it was given to this device, unless the row names it. */
async function takeBack(
  { claim, certificateId }: ClaimedRegistration,
  serial: string,
  problem: Problem,
  { claims, registry }: Pick<GiveContext, 'claims' | 'registry'>,
): Promise<Refused> {
  const given = await findGiven(claim, certificateId, claims);
  if (given?.serial === serial && (await registry.find(serial))?.certificateId !== certificateId)
    await claims.takeBack(claim, given);
  return { problem };
}

async function forgetGiven(claim: string, certificateId: string, { claims }: Pick<GiveContext, 'claims'>) {
  const given = await findGiven(claim, certificateId, claims);
  if (given !== undefined) await claims.forget(claim, given);
}

const findGiven = async (claim: string, certificateId: string, claims: Pick<ClaimCertificates, 'waiting'>) =>
  (await claims.waiting(claim)).given.find((each) => each.certificateId === certificateId);

/** `*` stands for any characters, `?` for one. Both are compared from the left, without going back further than to the last `*`. */
export function fits(serial: string, pattern: string): boolean {
  let [at, star, matched] = [0, -1, 0];
  for (let index = 0; index < serial.length; ) {
    if (pattern[at] === '*') [star, matched, at] = [at, index, at + 1];
    else if (pattern[at] === '?' || pattern[at] === serial[index]) [at, index] = [at + 1, index + 1];
    else if (star >= 0) [at, matched, index] = [star + 1, matched + 1, matched + 1];
    else return false;
  }
  return /^\**$/.test(pattern.slice(at));
}

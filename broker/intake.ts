import type { CertificateRequest, Message, RegistrationRequest, ReplyForm } from '../protocol/dialect.ts';
import { type Problem, problem, problems } from '../protocol/problems.ts';
import { isSerial, serialRule } from '../protocol/serial.ts';
import { hashToken, sameHash } from '../protocol/token.ts';
import {
  claimName,
  type ProvisioningRequest,
  type RequestQueue,
  registrationKeyOf,
  requestKeyOf,
  wantKeyOf,
} from '../queue/provisioning-request.ts';
import type { TokenAttempt, TokenAttemptLimiter, TokenAttemptOutcome } from '../queue/token-attempts.ts';
import { within } from '../runtime/deadline.ts';
import type { Log } from '../runtime/log.ts';
import { checkOwnership } from '../sealing/ownership.ts';
import { registrationTokenParameter } from '../templates/expression.ts';
import { type CheckedCsr, checkCsr } from './csr.ts';
import type { DeviceRateLimit } from './device-rate-limit.ts';
import type { Limits } from './limits.ts';
import type { PendingReplies } from './pending-replies.ts';
import type { Roster } from './roster.ts';
import type { NamedBy, PresentedToken, Session, SessionClaim } from './session.ts';
import type { BrokerSightings } from './sightings.ts';
import type { PendingRequest } from './waiting-requests.ts';

export type IntakeContext = {
  readonly requests: RequestQueue;
  readonly pendingReplies: PendingReplies;
  readonly roster: Pick<Roster, 'matchesToken' | 'isCurrent' | 'requestLookup'>;
  readonly tokenAttempts: TokenAttemptLimiter;
  readonly deviceRate: DeviceRateLimit;
  /** by the id of the claim certificate */
  readonly claimRate: DeviceRateLimit;
  readonly acknowledgementRate: DeviceRateLimit;
  readonly limits: Limits;
  readonly sightings: BrokerSightings;
  readonly log: Log;
  now(): number;
  newId(): string;
};

/** `stored`: the message is in Redis, and a request will be answered. A refusal is answered at once, on this connection. */
export type Accepted = { readonly outcome: 'stored' } | { readonly outcome: 'refused'; readonly problem: Problem };

/** A message of a device, as its dialect read it, the RETAIN flag of its PUBLISH, and how long a request may wait, in milliseconds. */
export type IncomingMessage = Message & { readonly retain: boolean; readonly maxWaitMs?: number | undefined };

const stored: Accepted = { outcome: 'stored' };
const refused = (reason: Problem): Accepted => ({ outcome: 'refused', problem: reason });

/** A password that no device can have as its token is refused as such, and is no attempt at one. */
function noTokenIn({ malformedPassword, keyUnused }: Session, misspelt?: string): Problem {
  if (malformedPassword !== undefined)
    return problem('InvalidRequest', `the password of CONNECT is no token: ${malformedPassword}`);
  if (misspelt !== undefined)
    return problem('InvalidToken', `the request has no token: it has ${JSON.stringify(misspelt)}; the key is "token"`);
  if (keyUnused === undefined) return problems.noToken;
  // a device behind the same address as one without a key may have one
  const retryAfter = keyUnused.connectAgain ? 1 : undefined;
  return problem('InvalidToken', `the request has no token, and ${keyUnused.reason}`, retryAfter);
}

/** Only a dialect whose topics name no serial comes to this. */
const noSerialIn = ({ claimFault }: Session): Problem =>
  claimFault === undefined
    ? noSerial
    : problem('InvalidToken', `the client certificate of this connection is no claim certificate: ${claimFault}`);

const noSerial = problem(
  'InvalidToken',
  'the serial of the device is unknown: put it into CONNECT as the user name with the token as password, or use it as the identity of a TLS pre-shared key',
);

/** By what named the serial that the connection speaks for: an engineer must learn which part of the firmware to look at. */
const otherDevice: Readonly<Record<NamedBy, Problem>> = {
  'user name': problems.otherSerialOfUserName,
  'pre-shared key': problems.otherSerialOfKey,
  message: problems.otherSerialOfMessage,
};

/** The longest wait that a connection with unverified tokens is told: until then the roster may know its token. */
const maxPauseSeconds = 60;

/**
 * Takes one message in. Resolves only when it is stored or refused, since the PUBACK that follows is a promise.
 * @throws when it could not be stored; then there must be no PUBACK
 */
export async function acceptMessage(
  session: Session,
  message: IncomingMessage,
  intake: IntakeContext,
): Promise<Accepted> {
  const { claim } = session;
  if (claim !== undefined && message.serial === undefined) return acceptByClaim(session, claim, message, intake);
  const serial = message.serial ?? session.serial;
  if (serial === undefined) return refused(noSerialIn(session));
  const unfit = bindSerial(session, serial, message);
  if (unfit !== undefined) return refused(unfit);
  if (message.kind === 'unreadable') return refused(message.problem);
  if (message.kind === 'request') return acceptRequest(session, serial, message, intake);
  return message.kind === 'registration'
    ? acceptRegistration(session, serial, message, intake)
    : acceptAcknowledgement(session, serial, message.certificateId, intake);
}

/** A connection speaks for the first serial that it names. @returns why this connection may not send this message */
function bindSerial(session: Session, serial: string, { retain }: IncomingMessage): Problem | undefined {
  if (!isSerial(serial)) return problem('InvalidRequest', serialRule);
  if (!session.bindSerial(serial, 'message')) return otherDevice[session.namedBy ?? 'message'];
  return retain ? problems.retained : undefined;
}

/** On a connection that a claim certificate stands for: Fleet Provisioning, where no topic names the device. */
async function acceptByClaim(
  session: Session,
  claim: SessionClaim,
  message: IncomingMessage,
  intake: IntakeContext,
): Promise<Accepted> {
  if (message.retain) return refused(problems.retained);
  if (message.kind === 'unreadable') return refused(message.problem);
  if (message.kind === 'acknowledgement') return refused(acknowledgeWithToken);
  if (session.messagesUnderWay >= intake.limits.maxRequestsPerConnection || isFull(session, intake))
    return refused(problems.tooManyWaiting);
  const endIntake = session.beginMessage();
  try {
    const seconds = await intake.claimRate.take(claim.id);
    if (seconds !== undefined) return refused(problem('Throttled', problems.claimsTooFast.message, seconds));
    if (message.kind === 'registration') return await registerByClaim(session, claim, message, intake, endIntake);
    const { request, form, maxWaitMs = intake.limits.claimWaitMs } = message;
    const csr = request.csr === undefined ? undefined : checkCsr(request.csr);
    if (csr?.ok === false) return refused(csr.problem);
    endIntake();
    const [serial, { id, token }] = [claimName(claim.id), claim];
    const asked = { serial, key: request.key, form, token, csr, attempt: {}, maxWaitMs, claim: id };
    return await store(session, asked, intake);
  } finally {
    endIntake();
  }
}

/** A registration token among the parameters is judged as any other, with the same limits on attempts. Only its hash is stored. */
async function registerByClaim(
  session: Session,
  claim: SessionClaim,
  { registration, form }: Registering,
  intake: IntakeContext,
  endIntake: () => void,
): Promise<Accepted> {
  const owned = checkOwnership(claim.token.keys, registration.ownershipToken, intake.now());
  if (owned === 'unfit') return refused(problems.waitingOver);
  if (owned === 'ended') return refused(problems.ownershipTokenEnded);
  const { [registrationTokenParameter]: deviceToken, SerialNumber: named = '' } = registration.parameters;
  const serial = isSerial(named) ? named : claimName(claim.id);
  const deviceTokenHash = deviceToken === undefined ? undefined : hashToken(deviceToken);
  const attempt =
    deviceTokenHash === undefined || intake.roster.matchesToken(serial, deviceTokenHash)
      ? {}
      : await beginAttempt({ serial, tokenHash: deviceTokenHash, address: session.address, purpose: 'claim' }, intake);
  if ('problem' in attempt) return refused(attempt.problem);
  endIntake();
  const { settle } = attempt;
  // an answer that does not say that the token is wrong may be about something else
  const settled = settle && {
    settle: (outcome: TokenAttemptOutcome) => settle(outcome === 'wrong' ? 'wrong' : 'unused'),
  };
  const asked = { serial: claimName(claim.id), token: claim.token, certificateId: owned.certificateId };
  const said = { claim: claim.id, ...(deviceTokenHash === undefined ? {} : { deviceTokenHash }) };
  return storeRegistration(session, { ...asked, ...said, ...settled, registration, form }, intake);
}

/** Steps from the cheapest refusal to the dearest: is there room, is there a token, may it be tried, is the CSR good. */
async function acceptRequest(
  session: Session,
  serial: string,
  { request, form, maxWaitMs }: { request: CertificateRequest; form: ReplyForm; maxWaitMs?: number | undefined },
  intake: IntakeContext,
): Promise<Accepted> {
  if (session.messagesUnderWay >= intake.limits.maxRequestsPerConnection) return refused(problems.tooManyWaiting);
  // counted before anything is waited for: one TLS record may bring a hundred requests
  const endIntake = session.beginMessage();
  try {
    const token = request.token === undefined ? session.connectToken : session.presentToken(serial, request.token);
    if (token === undefined) return refused(noTokenIn(session, request.misspeltToken));
    const attempt = await checkToken(session, serial, token, request.csr ?? request.key, intake);
    if ('problem' in attempt) return refused(attempt.problem);
    const csr = request.csr === undefined ? undefined : checkCsr(request.csr);
    if (csr?.ok === false) return abandon(attempt, csr.problem);
    // from here on it is a request that waits, not a message that is being taken in
    endIntake();
    const { key, template } = request;
    return await store(session, { serial, key, template, form, token, csr, attempt, maxWaitMs }, intake);
  } finally {
    endIntake();
  }
}

/** Whether this connection has reached its limit of messages that are being taken in or wait for their answer. */
const isFull = (
  session: Session,
  { pendingReplies, limits }: Pick<IntakeContext, 'pendingReplies' | 'limits'>,
): boolean => session.messagesUnderWay + pendingReplies.countOf(session) >= limits.maxRequestsPerConnection;

/**
 * A token that is not verified is being tried: `settle` tells the limiter what came of it. `attemptFrom` goes with the request, so that
 * its worker judges it within the limit of that address. Empty for a verified token.
 */
type Attempt = Pick<PendingRequest, 'settle'> & Pick<ProvisioningRequest, 'attemptFrom'>;

/** Refuses the request for another reason than its token. The attempt still counts against the address. */
function abandon(attempt: Attempt, reason: Problem): Accepted {
  void attempt.settle?.('unused');
  return refused(reason);
}

type CheckedRequest = Pick<CertificateRequest, 'key' | 'template'> & {
  readonly serial: string;
  readonly form: ReplyForm;
  readonly token: PresentedToken;
  readonly csr: Extract<CheckedCsr, { ok: true }> | undefined;
  readonly attempt: Attempt;
  readonly maxWaitMs: number | undefined;
  /** the id of the claim certificate that stands in the place of the token */
  readonly claim?: string;
};

async function store(
  session: Session,
  { serial, key, template, form, token, csr, attempt, maxWaitMs, claim }: CheckedRequest,
  { requests, pendingReplies, limits, sightings, newId, now }: IntakeContext,
): Promise<Accepted> {
  const { tokenHash } = token;
  const { attemptFrom, ...settled } = attempt;
  const csrFields = csr === undefined ? {} : { csrPem: csr.csrPem, keyDigest: csr.keyDigest };
  const byTemplate = template && {
    template: { ...template, parameters: withoutToken(template.parameters, tokenHash) },
  };
  const asked = { serial, tokenHash, key, ...csrFields, ...byTemplate };
  const [requestKey, wantKey] = [requestKeyOf(asked), wantKeyOf(asked)];
  if (isFull(session, { pendingReplies, limits }) && !pendingReplies.isRepeated(session, wantKey, form))
    return abandon(attempt, problems.tooManyWaiting);

  const [requestId, receivedAt] = [newId(), now()];
  const pending = { requestId, token, requestKey, wantKey, form, ...settled };
  // added before it is stored: the answer may be here before Redis says that it has the request. A repeated request is stored,
  // too: Redis may have lost the first one. If it has not, it keeps that one only
  pendingReplies.addRequest(session, pending);
  try {
    const tried = attemptFrom === undefined ? {} : { attemptFrom };
    const expiry = { ...(maxWaitMs === undefined ? {} : { maxWaitMs }), ...(claim === undefined ? {} : { claim }) };
    const from = { replyKey: token.keys.publicKey, receivedAt, remoteAddress: session.remoteAddress, ...tried };
    const request = { requestId, ...asked, ...expiry, ...from };
    const answeredAs = await within(limits.storeMs, 'storing a request', requests.add(request));
    if (answeredAs === undefined) {
      pendingReplies.removeRequest(session, requestId);
      return abandon(attempt, problems.otherKeyWaits);
    }
    pendingReplies.requestStored(session, pending, answeredAs);
    // the name in the place of a serial stands for no device
    if (claim === undefined) sightings.note(session, 'stored', { requestId: answeredAs.requestId });
  } catch (error) {
    pendingReplies.removeRequest(session, requestId);
    throw error;
  }
  return stored;
}

/** Whether this token is known to be right: by the TLS handshake, an earlier answer, or the roster. The session remembers it. */
export function checkVerified(
  session: Session,
  serial: string,
  token: PresentedToken,
  { roster }: Pick<IntakeContext, 'roster'>,
): boolean {
  if (!session.isVerified(token) && !roster.matchesToken(serial, token.tokenHash)) return false;
  session.markVerified(token);
  return true;
}

/**
 * A token that is not verified is an attempt, and attempts are few; with a verified token, a device may send requests at a
 * limited rate. A refusal says the same whether the serial is enrolled or not.
 * @param purpose what the token is tried for: a CSR, or the kind of key
 */
async function checkToken(
  session: Session,
  serial: string,
  token: PresentedToken,
  purpose: string,
  intake: IntakeContext,
): Promise<{ problem: Problem } | Attempt> {
  if (checkVerified(session, serial, token, intake)) return (await checkDeviceRate(serial, intake)) ?? {};
  return beginAttempt({ serial, tokenHash: token.tokenHash, address: session.address, purpose }, intake);
}

async function beginAttempt(tried: TokenAttempt, intake: IntakeContext): Promise<{ problem: Problem } | Attempt> {
  const { tokenAttempts, limits, log } = intake;
  const { serial, address } = tried;
  const begun = tokenAttempts.begin(tried);
  const attempt = await within(limits.storeMs, 'counting a token attempt', begun);
  if (attempt.verdict === 'wrong') return { problem: problems.invalidToken };
  if (attempt.verdict === 'wait') {
    // wrong tokens of others must not delay for long a device with the right one that is not on the roster yet
    intake.roster.requestLookup(serial, address);
    const seconds = Math.min(attempt.seconds, maxPauseSeconds);
    const { message } = attempt.isCrowded === true ? problems.tooManyUnknown : problems.tooManyAttempts;
    return { problem: problem('Throttled', message, seconds) };
  }
  return {
    ...(attempt.wasRight ? {} : { attemptFrom: address }),
    async settle(outcome) {
      // a right token may have met the limit of its address: by the time the device asks again, the roster may know it
      if (outcome === 'unknown') intake.roster.requestLookup(serial, address);
      await within(limits.storeMs, 'settling a token attempt', attempt.settle(outcome)).catch((err: unknown) =>
        log.debug({ err }, 'a token attempt could not be settled'),
      );
    },
  };
}

/** Limits what one device may store: the holder of one device's token must not fill the queue for all others. */
async function checkDeviceRate(
  serial: string,
  { deviceRate }: Pick<IntakeContext, 'deviceRate'>,
): Promise<{ problem: Problem } | undefined> {
  const seconds = await deviceRate.take(serial);
  return seconds === undefined
    ? undefined
    : { problem: problem('Throttled', problems.tooManyMessages.message, seconds) };
}

/**
 * Acknowledgements come before all requests that wait, and a device has one certificate to acknowledge: one that names another certificate each time must
 * not hold the others up.
 */
async function checkAcknowledgementRate(serial: string, intake: IntakeContext) {
  const tooFast = await checkDeviceRate(serial, intake);
  return tooFast ?? checkDeviceRate(serial, { deviceRate: intake.acknowledgementRate });
}

/** Only a connection that presented the token, and that is known to be right, may acknowledge. */
async function acceptAcknowledgement(
  session: Session,
  serial: string,
  certificateId: string,
  intake: IntakeContext,
): Promise<Accepted> {
  const token = session.latestToken;
  if (token === undefined) return refused(acknowledgeWithToken);
  if (!checkVerified(session, serial, token, intake)) return refused(problems.acknowledgeLater);
  const tooFast = await checkAcknowledgementRate(serial, intake);
  if (tooFast !== undefined) return refused(tooFast.problem);
  const acknowledgement = { serial, tokenHash: token.tokenHash, certificateId };
  await within(intake.limits.storeMs, 'storing an acknowledgement', intake.requests.acknowledge(acknowledgement));
  return stored;
}

const acknowledgeWithToken = problem('InvalidToken', 'acknowledge on a connection that presented the token');

type Registering = { readonly registration: RegistrationRequest; readonly form: ReplyForm };

/**
 * A device that has its certificate asks to be registered by a template. It must be the one that got the certificate: the ownership
 * token can be read with the registration token of its connection only.
 */
async function acceptRegistration(
  session: Session,
  serial: string,
  { registration, form }: Registering,
  intake: IntakeContext,
): Promise<Accepted> {
  if (isFull(session, intake)) return refused(problems.tooManyWaiting);
  const token = session.connectToken;
  if (token === undefined) return refused(noTokenIn(session));
  const owned = checkOwnership(token.keys, registration.ownershipToken, intake.now());
  if (owned === 'unfit') return refused(problems.ownershipTokenUnfit);
  if (owned === 'ended') return refused(problems.ownershipTokenEnded);
  if (!checkVerified(session, serial, token, intake)) return refused(problems.acknowledgeLater);
  const endIntake = session.beginMessage();
  try {
    const tooFast = await checkAcknowledgementRate(serial, intake);
    if (tooFast !== undefined) return refused(tooFast.problem);
    endIntake();
    const { certificateId } = owned;
    return await storeRegistration(session, { serial, token, certificateId, registration, form }, intake);
  } finally {
    endIntake();
  }
}

async function storeRegistration(
  session: Session,
  asked: Registering &
    Pick<PendingRequest, 'settle'> & {
      readonly serial: string;
      readonly token: PresentedToken;
      readonly certificateId: string;
      readonly claim?: string;
      readonly deviceTokenHash?: string;
    },
  { limits, pendingReplies, requests, newId }: IntakeContext,
): Promise<Accepted> {
  const { serial, token, certificateId, form, claim, deviceTokenHash, settle } = asked;
  const [requestId, { tokenHash, keys }] = [newId(), token];
  const { templateName, parameters } = asked.registration;
  const registration = {
    ...{ requestId, replyKey: keys.publicKey, templateName },
    parameters: withoutToken(parameters, tokenHash),
    ...(deviceTokenHash === undefined ? {} : { deviceTokenHash }),
  };
  // added before it is stored, as a request
  const requestKey = registrationKeyOf(requestId);
  pendingReplies.addRequest(session, {
    requestId,
    token,
    requestKey,
    wantKey: requestKey,
    form,
    hasNoPlace: true,
    ...(settle && { settle }),
  });
  try {
    const byClaim = claim === undefined ? {} : { claim };
    const acknowledging = requests.acknowledge({ serial, tokenHash, certificateId, registration, ...byClaim });
    await within(limits.storeMs, 'storing a registration', acknowledging);
  } catch (error) {
    pendingReplies.removeRequest(session, requestId);
    throw error;
  }
  return stored;
}

/** Firmware may send its registration token as a parameter; what is stored must not have it. */
function withoutToken(
  parameters: RegistrationRequest['parameters'],
  tokenHash: string,
): RegistrationRequest['parameters'] {
  const isToken = ([name, value]: [string, string]) =>
    name === registrationTokenParameter || sameHash(hashToken(value), tokenHash);
  return Object.fromEntries(Object.entries(parameters).filter((each) => !isToken(each)));
}

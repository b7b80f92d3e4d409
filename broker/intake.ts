import { parseAcknowledgement } from '../protocol/cvm/acknowledgement.ts';
import { parseRequest, type Request } from '../protocol/cvm/request.ts';
import { type Problem, problem, problems } from '../protocol/problems.ts';
import { isSerial, serialRule } from '../protocol/serial.ts';
import { type RequestQueue, requestKeyOf } from '../queue/provisioning-request.ts';
import type { TokenAttemptLimiter } from '../queue/token-attempts.ts';
import { within } from '../runtime/deadline.ts';
import type { Log } from '../runtime/log.ts';
import { checkCsr } from './csr.ts';
import type { DeviceRateLimit } from './device-rate-limit.ts';
import type { Limits } from './limits.ts';
import { groupOf } from './listener/admission.ts';
import type { PendingReplies } from './pending-replies.ts';
import type { Roster } from './roster.ts';
import { markVerified, type PendingRequest, type PresentedToken, presentToken, type Session } from './session.ts';

export type IntakeContext = {
  readonly requests: RequestQueue;
  readonly pendingReplies: PendingReplies;
  readonly roster: Pick<Roster, 'matchesToken' | 'requestLookup'>;
  readonly tokenAttempts: TokenAttemptLimiter;
  readonly deviceRate: DeviceRateLimit;
  readonly limits: Limits;
  readonly log: Log;
  now(): number;
  newId(): string;
};

/** `stored`: the question is in Redis and will be answered. A refusal is answered at once, on this connection. */
export type Accepted =
  | { readonly outcome: 'stored' }
  | { readonly outcome: 'refused'; readonly problem: Problem; readonly id?: string };

const noToken = problem(
  'InvalidToken',
  'the request has no token: put it into the payload as "token", into CONNECT as the password with the serial as user name, or use it as TLS pre-shared key',
);

/** The longest that a guesser is told to wait: until then the roster may know his token. */
const maxPauseSeconds = 60;

type Message = { readonly payload: Uint8Array; readonly retain: boolean };

/** A connection speaks for the first serial that it names. @returns why this message is not for it to send */
function bindSerial(session: Session, named: string, { retain }: Message): Problem | undefined {
  if (!isSerial(named)) return problem('InvalidRequest', serialRule);
  if (session.serial !== undefined && session.serial !== named) return problems.otherDevice;
  session.serial = named;
  return retain
    ? problem('InvalidRequest', 'it must not be a retained message: publish with the retain flag off')
    : undefined;
}

/**
 * Takes one request in: parse, judge whether its token may be tried, check the CSR, store. It resolves only when the request
 * is stored or refused, since the PUBACK that follows is a promise.
 * @param named the serial as the topic names it
 * @throws when the request could not be stored; then there must be no PUBACK
 */
export async function acceptRequest(
  session: Session,
  named: string,
  message: Message,
  intake: IntakeContext,
): Promise<Accepted> {
  const unfit = bindSerial(session, named, message);
  if (unfit !== undefined) return refuse(unfit);
  const parsed = parseRequest(message.payload);
  if (!parsed.ok) return refuse(parsed.problem, parsed.id);
  const { request } = parsed;
  const presentedToken =
    request.token === undefined ? session.connectToken : presentToken(session, named, request.token);
  if (presentedToken === undefined) return refuse(noToken, request.id);

  const leave = beginIntake(session, intake);
  if (leave === undefined) return refuse(problems.tooManyWaiting, request.id);
  try {
    const attempt = await checkToken(session, named, presentedToken, request.csr ?? request.key, intake);
    if ('problem' in attempt) return refuse(attempt.problem, request.id);
    const csr = request.csr === undefined ? undefined : await checkCsr(request.csr);
    if (csr?.ok === false) {
      void attempt.settle?.('unknown');
      return refuse(csr.problem, request.id);
    }
    return await store(session, named, { request, presentedToken, csr, attempt, leave }, intake);
  } finally {
    leave();
  }
}

/**
 * Few requests of a connection are taken in at a time. Counted before anything is waited for, since a hundred of them come
 * in one TLS record.
 * @returns who is called when it is no longer being taken in; undefined when there are too many
 */
function beginIntake(session: Session, { limits }: IntakeContext): (() => void) | undefined {
  if (session.underWay >= limits.maxRequestsPerConnection) return undefined;
  session.underWay++;
  let inside = true;
  return () => {
    if (inside) session.underWay--;
    inside = false;
  };
}

type CheckedRequest = {
  readonly request: Request;
  readonly presentedToken: PresentedToken;
  readonly csr: { readonly csrPem: string; readonly keyDigest: string } | undefined;
  readonly attempt: Pick<PendingRequest, 'settle'>;
  /** it waits for its answer from now on */
  leave(): void;
};

async function store(
  session: Session,
  serial: string,
  { request, presentedToken, csr, attempt, leave }: CheckedRequest,
  { requests, pendingReplies, limits, newId, now }: IntakeContext,
): Promise<Accepted> {
  const { format, encoding } = request;
  const form = { format, encoding, ...(request.id === undefined ? {} : { id: request.id }) };
  const asked = {
    serial,
    tokenHash: presentedToken.tokenHash,
    key: request.key,
    ...(csr === undefined ? {} : { csrPem: csr.csrPem, keyDigest: csr.keyDigest }),
  };
  const requestKey = requestKeyOf(asked);
  const same = [...session.pending.values()].find((pending) => pending.requestKey === requestKey);
  if (same !== undefined) {
    // stored already, and still to be answered: once is enough
    same.form = form;
    return { outcome: 'stored' };
  }
  leave();
  if (session.pending.size + session.underWay >= limits.maxRequestsPerConnection) {
    void attempt.settle?.('unknown');
    return refuse(problems.tooManyWaiting, request.id);
  }

  const [requestId, receivedAt] = [newId(), now()];
  const pending = { ...asked, requestId, replyKey: presentedToken.keys.publicKey, receivedAt };
  // owed before it is stored: the answer may be here before Redis' word that it has the question
  const pendingRequest = { requestId, token: presentedToken, requestKey, form, since: receivedAt, ...attempt };
  pendingReplies.open(session, pendingRequest);
  try {
    const answeredAs = await within(limits.storeMs, 'storing a request', requests.add(pending));
    if (answeredAs !== requestId) pendingReplies.join(session, pendingRequest, answeredAs);
  } catch (error) {
    pendingReplies.withdraw(session, requestId);
    throw error;
  }
  return { outcome: 'stored' };
}

/**
 * Whether this token is known to be right: proven in the handshake, by an earlier answer, or on the roster. Who presented one
 * is known for a device from then on.
 */
export function checkVerified(
  session: Session,
  serial: string,
  presentedToken: PresentedToken,
  { roster }: Pick<IntakeContext, 'roster'>,
): boolean {
  if (!session.verified.has(presentedToken.recipientId) && !roster.matchesToken(serial, presentedToken.tokenHash))
    return false;
  markVerified(session, presentedToken.recipientId);
  return true;
}

/**
 * A token that nobody vouches for is a guess, of which there may be few; and of a device with the right one there is a
 * bound to what it may ask. A refusal says the same whether the serial is enrolled or not.
 * @param requestKey is asked for with it
 */
async function checkToken(
  session: Session,
  serial: string,
  presentedToken: PresentedToken,
  requestKey: string,
  intake: IntakeContext,
): Promise<{ problem: Problem } | Pick<PendingRequest, 'settle'>> {
  if (checkVerified(session, serial, presentedToken, intake)) return (await checkDeviceRate(serial, intake)) ?? {};
  const { tokenAttempts, limits, log } = intake;
  const address = groupOf(session.remoteAddress);
  const begun = tokenAttempts.begin({ serial, tokenHash: presentedToken.tokenHash, address, requestKey });
  const attempt = await within(limits.storeMs, 'counting a guess', begun);
  if (attempt.verdict === 'wrong') return { problem: problems.invalidToken };
  if (attempt.verdict === 'wait') {
    // others' guesses must not hold up for long who has the right token, and is not on the roster yet
    intake.roster.requestLookup(serial);
    const seconds = Math.min(attempt.seconds, maxPauseSeconds);
    return { problem: problem('Throttled', problems.tooManyGuesses.message, seconds) };
  }
  return {
    settle: (outcome) =>
      within(limits.storeMs, 'settling a guess', attempt.settle(outcome)).catch((err: unknown) =>
        log.debug({ err }, 'a guess could not be settled'),
      ),
  };
}

/** What each device may store here: who has one device's token must not fill the line for all others. */
async function checkDeviceRate(
  serial: string,
  { deviceRate }: IntakeContext,
): Promise<{ problem: Problem } | undefined> {
  const seconds = await deviceRate.take(serial);
  return seconds === undefined
    ? undefined
    : { problem: problem('Throttled', problems.tooManyMessages.message, seconds) };
}

/**
 * Takes an acknowledgement in. Only a connection that presented the token may give it.
 * @throws when it could not be stored; then there must be no PUBACK
 */
export async function acceptAcknowledgement(
  session: Session,
  named: string,
  message: Message,
  intake: IntakeContext,
): Promise<Accepted> {
  const unfit = bindSerial(session, named, message);
  if (unfit !== undefined) return refuse(unfit);
  const certificateId = parseAcknowledgement(message.payload);
  if (certificateId === undefined)
    return refuse(
      problem(
        'InvalidRequest',
        'an acknowledgement is {"certificateId":"…"}, with the 64 hex digits of the certificate',
      ),
    );
  const presentedToken = [...session.presented.values()].at(-1);
  if (presentedToken === undefined)
    return refuse(problem('InvalidToken', 'acknowledge on a connection that presented the token'));
  if (!checkVerified(session, named, presentedToken, intake)) return refuse(problems.acknowledgeLater);
  const tooFast = await checkDeviceRate(named, intake);
  if (tooFast !== undefined) return refuse(tooFast.problem);
  await within(
    intake.limits.storeMs,
    'storing an acknowledgement',
    intake.requests.acknowledge({ serial: named, tokenHash: presentedToken.tokenHash, certificateId }),
  );
  return { outcome: 'stored' };
}

function refuse(reason: Problem, id?: string): Accepted {
  return id === undefined ? { outcome: 'refused', problem: reason } : { outcome: 'refused', problem: reason, id };
}

import { parseAcknowledgement } from '../protocol/cvm/acknowledgement.ts';
import { parseRequest, type Request } from '../protocol/cvm/request.ts';
import { type Problem, problem, problems } from '../protocol/problems.ts';
import { isSerial, serialRule } from '../protocol/serial.ts';
import { type AskQueue, questionOf } from '../queue/provisioning-request.ts';
import type { GuessBook } from '../queue/token-attempts.ts';
import { within } from '../runtime/deadline.ts';
import type { Log } from '../runtime/log.ts';
import { checkCsr } from './csr.ts';
import type { Pace } from './device-rate-limit.ts';
import type { Limits } from './limits.ts';
import { groupOf } from './listener/admission.ts';
import type { Desk } from './pending-replies.ts';
import type { Roster } from './roster.ts';
import { type OpenAsk, type Proof, prove, type Session, vouchFor } from './session.ts';

export type Intake = {
  readonly asks: AskQueue;
  readonly desk: Desk;
  readonly roster: Pick<Roster, 'fits' | 'inquire'>;
  readonly guesses: GuessBook;
  readonly pace: Pace;
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
function bind(session: Session, named: string, { retain }: Message): Problem | undefined {
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
  intake: Intake,
): Promise<Accepted> {
  const unfit = bind(session, named, message);
  if (unfit !== undefined) return refuse(unfit);
  const parsed = parseRequest(message.payload);
  if (!parsed.ok) return refuse(parsed.problem, parsed.id);
  const { request } = parsed;
  const proof = request.token === undefined ? session.proof : prove(session, named, request.token);
  if (proof === undefined) return refuse(noToken, request.id);

  const leave = enter(session, intake);
  if (leave === undefined) return refuse(problems.tooManyWaiting, request.id);
  try {
    const guess = await vouch(session, named, proof, request.csr ?? request.key, intake);
    if ('problem' in guess) return refuse(guess.problem, request.id);
    const csr = request.csr === undefined ? undefined : await checkCsr(request.csr);
    if (csr?.ok === false) {
      void guess.settle?.('unknown');
      return refuse(csr.problem, request.id);
    }
    return await store(session, named, { request, proof, csr, guess, leave }, intake);
  } finally {
    leave();
  }
}

/**
 * Few requests of a connection are taken in at a time. Counted before anything is waited for, since a hundred of them come
 * in one TLS record.
 * @returns who is called when it is no longer being taken in; undefined when there are too many
 */
function enter(session: Session, { limits }: Intake): (() => void) | undefined {
  if (session.underWay >= limits.maxAsksPerConnection) return undefined;
  session.underWay++;
  let inside = true;
  return () => {
    if (inside) session.underWay--;
    inside = false;
  };
}

type Judged = {
  readonly request: Request;
  readonly proof: Proof;
  readonly csr: { readonly csrPem: string; readonly keyDigest: string } | undefined;
  readonly guess: Pick<OpenAsk, 'settle'>;
  /** it waits for its answer from now on */
  leave(): void;
};

async function store(
  session: Session,
  serial: string,
  { request, proof, csr, guess, leave }: Judged,
  { asks, desk, limits, newId, now }: Intake,
): Promise<Accepted> {
  const { format, encoding } = request;
  const form = { format, encoding, ...(request.id === undefined ? {} : { id: request.id }) };
  const asked = {
    serial,
    tokenHash: proof.tokenHash,
    key: request.key,
    ...(csr === undefined ? {} : { csrPem: csr.csrPem, keyDigest: csr.keyDigest }),
  };
  const question = questionOf(asked);
  const same = [...session.asks.values()].find((ask) => ask.question === question);
  if (same !== undefined) {
    // stored already, and still to be answered: once is enough
    same.form = form;
    return { outcome: 'stored' };
  }
  leave();
  if (session.asks.size + session.underWay >= limits.maxAsksPerConnection) {
    void guess.settle?.('unknown');
    return refuse(problems.tooManyWaiting, request.id);
  }

  const [askId, receivedAt] = [newId(), now()];
  const ask = { ...asked, askId, replyKey: proof.keys.publicKey, receivedAt };
  // owed before it is stored: the answer may be here before Redis' word that it has the question
  const openAsk = { askId, proof, question, form, since: receivedAt, ...guess };
  desk.open(session, openAsk);
  try {
    const answeredAs = await within(limits.storeMs, 'storing a request', asks.add(ask));
    if (answeredAs !== askId) desk.join(session, openAsk, answeredAs);
  } catch (error) {
    desk.withdraw(session, askId);
    throw error;
  }
  return { outcome: 'stored' };
}

/**
 * Whether this token is known to be right: proven in the handshake, by an earlier answer, or on the roster. Who presented one
 * is known for a device from then on.
 */
export function recognize(session: Session, serial: string, proof: Proof, { roster }: Pick<Intake, 'roster'>): boolean {
  if (!session.vouchedFor.has(proof.box) && !roster.fits(serial, proof.tokenHash)) return false;
  vouchFor(session, proof.box);
  return true;
}

/**
 * A token that nobody vouches for is a guess, of which there may be few; and of a device with the right one there is a
 * bound to what it may ask. A refusal says the same whether the serial is enrolled or not.
 * @param what is asked for with it
 */
async function vouch(
  session: Session,
  serial: string,
  proof: Proof,
  what: string,
  intake: Intake,
): Promise<{ problem: Problem } | Pick<OpenAsk, 'settle'>> {
  if (recognize(session, serial, proof, intake)) return (await isTooFast(serial, intake)) ?? {};
  const { guesses, limits, log } = intake;
  const address = groupOf(session.remoteAddress);
  const begun = guesses.begin({ serial, tokenHash: proof.tokenHash, address, what });
  const guess = await within(limits.storeMs, 'counting a guess', begun);
  if (guess.verdict === 'wrong') return { problem: problems.invalidToken };
  if (guess.verdict === 'wait') {
    // others' guesses must not hold up for long who has the right token, and is not on the roster yet
    intake.roster.inquire(serial);
    const seconds = Math.min(guess.seconds, maxPauseSeconds);
    return { problem: problem('Throttled', problems.tooManyGuesses.message, seconds) };
  }
  return {
    settle: (outcome) =>
      within(limits.storeMs, 'settling a guess', guess.settle(outcome)).catch((err: unknown) =>
        log.debug({ err }, 'a guess could not be settled'),
      ),
  };
}

/** What each device may store here: who has one device's token must not fill the line for all others. */
async function isTooFast(serial: string, { pace }: Intake): Promise<{ problem: Problem } | undefined> {
  const seconds = await pace.take(serial);
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
  intake: Intake,
): Promise<Accepted> {
  const unfit = bind(session, named, message);
  if (unfit !== undefined) return refuse(unfit);
  const certificateId = parseAcknowledgement(message.payload);
  if (certificateId === undefined)
    return refuse(
      problem(
        'InvalidRequest',
        'an acknowledgement is {"certificateId":"…"}, with the 64 hex digits of the certificate',
      ),
    );
  const proof = [...session.presented.values()].at(-1);
  if (proof === undefined)
    return refuse(problem('InvalidToken', 'acknowledge on a connection that presented the token'));
  if (!recognize(session, named, proof, intake)) return refuse(problems.acknowledgeLater);
  const tooFast = await isTooFast(named, intake);
  if (tooFast !== undefined) return refuse(tooFast.problem);
  await within(
    intake.limits.storeMs,
    'storing an acknowledgement',
    intake.asks.acknowledge({ serial: named, tokenHash: proof.tokenHash, certificateId }),
  );
  return { outcome: 'stored' };
}

function refuse(reason: Problem, id?: string): Accepted {
  return id === undefined ? { outcome: 'refused', problem: reason } : { outcome: 'refused', problem: reason, id };
}

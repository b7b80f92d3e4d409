import { type Answer, isFinal, type PendingAnswer } from '../protocol/answer.ts';
import type { Dialect, ReplyForm } from '../protocol/dialect.ts';
import { refusalOf } from '../protocol/problems.ts';
import type { Line } from '../queue/line.ts';
import type { Pace } from '../queue/pace.ts';
import type { BoundReply, ReplyFeed, ReplyIds, SealedReply } from '../queue/replies.ts';
import type { TokenAttemptOutcome } from '../queue/token-attempts.ts';
import type { Log } from '../runtime/log.ts';
import { openAnswer } from '../sealing/replies.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { createAbsentWorkers } from './absent-workers.ts';
import { createLineNotices } from './line-notices.ts';
import { createMissedReplySearch } from './missed-replies.ts';
import type { Refusals } from './refusals.ts';
import { noRoom } from './reply-to.ts';
import type { Session } from './session.ts';
import type { BrokerSightings } from './sightings.ts';
import { createTokenHolders } from './token-holders.ts';
import { createTransfers } from './transfers.ts';
import { createWaitingRequests, type PendingRequest, type WaitingRequest } from './waiting-requests.ts';

/**
 * Brings answers to connections. An answer goes to the connections that asked; a certificate goes, in addition, to the other
 * connections that presented the same token and subscribed.
 */
export function createPendingReplies(options: {
  feed: ReplyFeed;
  line: Pick<Line, 'look'>;
  pace: Pick<Pace, 'readPace'>;
  dialect: Dialect;
  metrics: Pick<Metrics, 'replies' | 'estimateError'>;
  refusals: Pick<Refusals, 'message' | 'unsent'>;
  sightings: BrokerSightings;
  log: Log;
  /** epoch milliseconds */
  now(): number;
  random?: () => number;
  /** tokens that one connection is remembered to have presented */
  maxTokens: number;
  /** for a device to acknowledge a part of a reply, in milliseconds */
  partMs: number;
}) {
  const {
    feed,
    line,
    pace,
    dialect,
    metrics,
    refusals,
    sightings,
    log,
    now,
    maxTokens,
    partMs,
    random = Math.random,
  } = options;
  const monotonic = () => performance.now();
  const waiting = createWaitingRequests(monotonic);
  const holders = createTokenHolders(maxTokens);
  const transfers = createTransfers({ partMs, onError: notWritten });
  const search = createMissedReplySearch({ feed, waitingSince: waiting.waitingSince, deliver, log });
  const workers = createAbsentWorkers(log);
  const notices = createLineNotices({
    ...{ line, pace, workers, log, random, now: monotonic },
    waitingSince: waiting.waitingSince,
    askersOf: waiting.askersOf,
    send: notify,
  });
  /** the request of which the answer was sent to a connection last: its copies must not follow */
  const lastAnswered = new WeakMap<Session, string>();

  /** An id comes from Redis, too, so it may be that of another request: what the device asked for is in the key. */
  function deliver(reply: BoundReply): void {
    for (const session of holders.of(reply.recipientId))
      if (wantsCopy(session, reply)) guard(session, async () => copy(session, reply));
    for (const [session, request] of waiting.askersOf(reply.requestId))
      if (
        request.token.recipientId === reply.recipientId &&
        request.requestKey === reply.requestKey &&
        !request.answered
      )
        guard(session, () => answer(session, request, reply));
  }

  function isWanted({ requestId, recipientId }: ReplyIds): boolean {
    return holders.has(recipientId) || waiting.has(requestId);
  }

  /** An answer comes by way of Redis, and may be sealed by anybody: one that cannot be written must not end the broker. */
  function guard({ serial }: Session, work: () => Promise<void>): void {
    work().catch((err: unknown) => log.error({ serial, err }, 'an answer could not be written'));
  }

  /** A connection that waits for an answer of its own gets that one, in the form and with the id that it asked for. */
  function wantsCopy(session: Session, { requestId, recipientId }: SealedReply): boolean {
    return (
      session.copyForm !== undefined &&
      lastAnswered.get(session) !== requestId &&
      !waiting.waitsFor(session, recipientId) &&
      transfers.countOf(session) === 0
    );
  }

  /** Opening proves the token: a recipientId is no secret, its key is one. A refusal concerns the connection that asked. */
  function copy(session: Session, { requestId, recipientId, sealed }: SealedReply): void {
    const token = session.keptToken(recipientId);
    const opened = token && openAnswer(token.keys, recipientId, sealed);
    if (opened?.status !== 'accepted') return;
    lastAnswered.set(session, requestId);
    send(session, opened, session.copyForm);
  }

  async function answer(
    session: Session,
    request: WaitingRequest,
    { recipientId, sealed }: SealedReply,
  ): Promise<void> {
    const { requestId, token } = request;
    const opened = openAnswer(token.keys, recipientId, sealed);
    if (opened === undefined) {
      log.warn({ serial: session.serial, requestId }, 'an answer does not open with the token that asked');
      waiting.remove(session, requestId);
    } else if (isFinal(opened)) {
      await answerFinally(session, request, opened);
    } else if (request.sentMeanwhile !== sealed) {
      // it is announced once, and found by every search for as long as the request waits
      request.sentMeanwhile = sealed;
      for (const { form } of request.asked) send(session, opened, form);
    }
  }

  /** Only the connection that asked hears it, whether its token is known to be right or not: so it tells nothing about the token. */
  function notify(session: Session, request: WaitingRequest, form: ReplyForm, notice: PendingAnswer): void {
    noteWait(session, request, notice);
    const next = dialect.whenPending(form, notice);
    if (next !== 'say-nothing') send(session, notice, form);
    if (next === 'end') waiting.endWait(session, request, form);
  }

  function noteWait(session: Session, { requestId }: WaitingRequest, { position, etaSeconds }: PendingAnswer): void {
    sightings.note(
      session,
      'waiting',
      { requestId },
      [position, etaSeconds].filter((each) => each !== undefined).join(' '),
    );
  }

  /** A name in the place of a serial, which stands for a claim certificate, is none of a device. */
  function noteAnswer(session: Session, { requestId }: WaitingRequest, final: Answer): void {
    const refusal = final.status === 'rejected' ? refusalOf(final.problem) : {};
    if (final.status !== 'pending')
      sightings.note(session, 'answered', { requestId, outcome: final.status, ...refusal });
  }

  /** By what it was told at first: one request counts once, with however many ids it was sent. */
  function noteEstimateError({ asked: [first] }: WaitingRequest): void {
    const told = first?.told?.first;
    if (told?.etaSeconds === undefined) return;
    const waited = Math.max(1, (monotonic() - told.at) / 1000);
    metrics.estimateError.observe(Math.abs(told.etaSeconds - waited) / waited, {});
  }

  async function answerFinally(session: Session, request: WaitingRequest, final: Answer): Promise<void> {
    request.answered = true;
    noteEstimateError(request);
    const outcome = outcomeOf(final);
    if (outcome === 'right') session.markVerified(request.token);
    // the attempt is settled before the device hears its outcome: the next request may come at once, and is judged by it
    await request.settle?.(outcome);
    if (!waiting.isWaiting(session, request)) return;
    waiting.remove(session, request.requestId);
    lastAnswered.set(session, request.requestId);
    noteAnswer(session, request, final);
    for (const { form } of request.asked) send(session, final, form);
  }

  function send(session: Session, opened: Answer, form: ReplyForm): void {
    const { status } = opened;
    metrics.replies.inc({ status, error_code: status === 'rejected' ? opened.problem.code : 'none' });
    const written = dialect.write(opened, form, session, now());
    if (written === undefined) {
      refusals.unsent(session, noRoom(session));
      return;
    }
    const { topic, properties, unfit } = written;
    if (unfit !== undefined) refusals.message(session, unfit);
    if ('parts' in written) transfers.begin(session, topic, written.parts, properties);
    else session.send(topic, written.payload, properties).catch((err: unknown) => notWritten(session, err));
  }

  function notWritten({ serial }: Session, err: unknown): void {
    log.debug({ serial, err }, 'the reply could not be written; the device asks again');
  }

  return {
    async start(): Promise<void> {
      search.start();
      notices.start();
      await feed.listen(deliver, search.lookForAll, isWanted);
    },
    /** The connection presented this token: once it subscribed, it gets the certificates that are vended for it. */
    registerToken: holders.add,
    /** The answer to this request is owed to this connection from now on. */
    addRequest(session: Session, request: PendingRequest): void {
      holders.add(session, request.token);
      waiting.add(session, request);
    },
    /** The queue has the request, and will answer it as it says: as an earlier one, where one that wants the same waited already. */
    requestStored: waiting.unite,
    isRepeated: waiting.isRepeated,
    /** For a health check: that no worker takes the requests that wait, with the cure. */
    trouble: workers.trouble,
    /** The request could not be stored: no answer is owed. */
    removeRequest: waiting.remove,
    /** How many answers are owed to this connection, or are on their way to it in parts. */
    countOf: (session: Session): number => waiting.countOf(session) + transfers.countOf(session),
    /** No answer is owed to this connection any more. A device that connects and asks again gets its answer then. */
    connectionClosed(session: Session): void {
      for (const requestId of waiting.release(session)) sightings.note(session, 'left', { requestId });
      holders.release(session);
      transfers.release(session);
    },
    close(): void {
      search.close();
      notices.close();
    },
  };
}

/** Whether a final answer shows that the token is right or wrong. While AWS is away, or the address has to wait, the token was not checked. */
function outcomeOf(answer: Answer): TokenAttemptOutcome {
  if (answer.status !== 'rejected') return 'right';
  const { code } = answer.problem;
  if (code === 'InvalidToken') return 'wrong';
  return code === 'UpstreamUnavailable' || code === 'Throttled' ? 'unknown' : 'right';
}

export type PendingReplies = ReturnType<typeof createPendingReplies>;

import { type Answer, isFinal } from '../protocol/answer.ts';
import { encodeReply, type ReplyForm } from '../protocol/cvm/reply.ts';
import { replyTopic } from '../protocol/cvm/topics.ts';
import type { ReplyFeed, SealedReply } from '../queue/replies.ts';
import type { TokenAttemptOutcome } from '../queue/token-attempts.ts';
import type { Log } from '../runtime/log.ts';
import { openAnswer } from '../sealing/replies.ts';
import type { Counters } from './counters.ts';
import { markVerified, type PendingRequest, type PresentedToken, type Session } from './session.ts';

/** How often the answers that are still owed are looked for, and for how long one waits for its announcement, in ms. */
const lookMs = 2000;
const batch = 500;

/**
 * Where questions wait for their answers. It knows which connection asked what, and who presented which token; an answer
 * goes to the asker, and, when it is a certificate, to the others that presented the same token and subscribed.
 */
export function createPendingReplies(options: {
  feed: ReplyFeed;
  counters: Counters;
  log: Log;
  now(): number;
  maxTokens: number;
}) {
  const { feed, counters, log, now, maxTokens } = options;
  /** by requestId: who asks the same question on several connections waits for the same answer */
  const open = new Map<string, Map<Session, PendingRequest>>();
  const byRecipient = new Map<string, Set<Session>>();
  let looking = false;
  const timer = setInterval(() => void look(lookMs), lookMs);

  function present(session: Session, presentedToken: PresentedToken): void {
    if (session.left) return;
    // the latest last: an acknowledgement is meant for it
    session.presented.delete(presentedToken.recipientId);
    session.presented.set(presentedToken.recipientId, presentedToken);
    const sessions = byRecipient.get(presentedToken.recipientId) ?? new Set();
    byRecipient.set(presentedToken.recipientId, sessions.add(session));
    const [oldest] = session.presented.keys();
    if (session.presented.size > maxTokens && oldest !== undefined) forget(session, oldest);
  }

  function forget(session: Session, recipientId: string): void {
    session.presented.delete(recipientId);
    session.verified.delete(recipientId);
    const sessions = byRecipient.get(recipientId);
    sessions?.delete(session);
    if (sessions?.size === 0) byRecipient.delete(recipientId);
  }

  function deliver(reply: SealedReply): void {
    // who asked with this token himself gets an answer of his own, in the form and with the id that he asked for
    const listening = [...(byRecipient.get(reply.recipientId) ?? [])].filter(
      (session) =>
        session.subscribed && session.lastReplyTo !== reply.requestId && !waitsFor(session, reply.recipientId),
    );
    for (const session of listening) copy(session, reply);
    for (const [session, pending] of open.get(reply.requestId) ?? [])
      if (pending.token.recipientId === reply.recipientId && !pending.answered)
        void answerAsker(session, pending, reply);
  }

  async function answerAsker(session: Session, pending: PendingRequest, reply: SealedReply): Promise<void> {
    const answer = openAnswer(pending.token.keys, reply.recipientId, reply.sealed);
    if (answer === undefined) {
      log.warn(
        { serial: session.serial, requestId: pending.requestId },
        'an answer does not open with the token that asked',
      );
      withdraw(session, pending.requestId);
      return;
    }
    if (!isFinal(answer)) {
      answerMeanwhile(session, pending, { answer, sealed: reply.sealed });
      return;
    }
    pending.answered = true;
    const outcome = outcomeOf(answer);
    if (outcome === 'right') markVerified(session, pending.token.recipientId);
    // what a guess costs is booked before its outcome is heard: neither a device that turned out to be right, nor who
    // guesses again at once, is treated by what was so before
    await pending.settle?.(outcome);
    if (session.pending.get(pending.requestId) !== pending) return;
    withdraw(session, pending.requestId);
    session.lastReplyTo = pending.requestId;
    send(session, answer, pending.form);
  }

  /** The request stays pending. The same answer is announced, and found again by `look`, many times: it is written once. */
  function answerMeanwhile(
    session: Session,
    pending: PendingRequest,
    { answer, sealed }: { answer: Answer; sealed: string },
  ): void {
    if (pending.answeredMeanwhile === sealed) return;
    pending.answeredMeanwhile = sealed;
    send(session, answer, pending.form);
  }

  function waitsFor(session: Session, recipientId: string): boolean {
    return [...session.pending.values()].some((pending) => pending.token.recipientId === recipientId);
  }

  /** Opening is the proof: a box is public, its key is not. A refusal concerns the asker alone. */
  function copy(session: Session, reply: SealedReply): void {
    const presentedToken = session.presented.get(reply.recipientId);
    const answer = presentedToken && openAnswer(presentedToken.keys, reply.recipientId, reply.sealed);
    if (answer?.status !== 'accepted') return;
    session.lastReplyTo = reply.requestId;
    send(session, answer, { format: 'pem', encoding: session.encoding });
  }

  function send(session: Session, answer: Answer, form: ReplyForm): void {
    const serial = session.serial ?? '';
    counters.answered(answer);
    session
      .send(replyTopic(serial), encodeReply(answer, form, now()))
      .catch((err: unknown) => log.debug({ serial, err }, 'the reply could not be written; the device asks again'));
  }

  function enlist(session: Session, pending: PendingRequest): void {
    if (session.left) {
      void pending.settle?.('unknown');
      return;
    }
    open.set(
      pending.requestId,
      (open.get(pending.requestId) ?? new Map<Session, PendingRequest>()).set(session, pending),
    );
    session.pending.set(pending.requestId, pending);
  }

  function withdraw(session: Session, requestId: string): void {
    const waiting = open.get(requestId);
    waiting?.delete(session);
    if (waiting?.size === 0) open.delete(requestId);
    session.pending.delete(requestId);
  }

  /** Looks for answers whose announcement may have been missed. */
  async function look(olderThanMs: number): Promise<void> {
    if (looking) return;
    looking = true;
    try {
      const due = [...open]
        .filter(([, waiting]) => [...waiting.values()].some(({ since }) => now() - since >= olderThanMs))
        .map(([requestId]) => requestId);
      for (let start = 0; start < due.length; start += batch)
        for (const reply of await feed.fetch(due.slice(start, start + batch))) deliver(reply);
    } catch (err) {
      log.debug({ err }, 'could not look for answers; trying again');
    } finally {
      looking = false;
    }
  }

  return {
    start: () => feed.listen(deliver, () => void look(0)),
    present,
    /** The answer to this question is owed to this connection from now on. */
    open(session: Session, pending: PendingRequest): void {
      present(session, pending.token);
      enlist(session, pending);
    },
    /** The same question waits already, under another id: its answer is this one's. */
    join(session: Session, pending: PendingRequest, requestId: string): void {
      withdraw(session, pending.requestId);
      enlist(session, { ...pending, requestId });
    },
    withdraw,
    /** The connection is gone; its questions are answered to whoever asks them again. */
    leave(session: Session): void {
      session.left = true;
      for (const [requestId, pending] of [...session.pending]) {
        if (!pending.answered) void pending.settle?.('unknown');
        withdraw(session, requestId);
      }
      for (const recipientId of [...session.presented.keys()]) forget(session, recipientId);
    },
    close(): void {
      clearInterval(timer);
    },
  };
}

/** What an answer says of the token. Where AWS is away, it may not have been looked at. */
function outcomeOf(answer: Answer): TokenAttemptOutcome {
  if (answer.status !== 'rejected') return 'right';
  const { code } = answer.problem;
  if (code === 'InvalidToken') return 'wrong';
  return code === 'UpstreamUnavailable' ? 'unknown' : 'right';
}

export type PendingReplies = ReturnType<typeof createPendingReplies>;

import { type Answer, encodeReply, type ReplyForm } from '../protocol/cvm/reply.ts';
import { replyTopic } from '../protocol/cvm/topics.ts';
import type { ReplyFeed, SealedReply } from '../queue/replies.ts';
import type { GuessOutcome } from '../queue/token-attempts.ts';
import type { Log } from '../runtime/log.ts';
import { openAnswer } from '../sealing/replies.ts';
import type { Counters } from './counters.ts';
import { type OpenAsk, type Proof, type Session, vouchFor } from './session.ts';

/** How often the answers that are still owed are looked for, and for how long one waits for its announcement, in ms. */
const lookMs = 2000;
const batch = 500;

/**
 * Where questions wait for their answers. It knows which connection asked what, and who presented which token; an answer
 * goes to the asker, and, when it is a certificate, to the others that presented the same token and subscribed.
 */
export function createDesk(options: {
  feed: ReplyFeed;
  counters: Counters;
  log: Log;
  now(): number;
  maxTokens: number;
}) {
  const { feed, counters, log, now, maxTokens } = options;
  /** by askId: who asks the same question on several connections waits for the same answer */
  const open = new Map<string, Map<Session, OpenAsk>>();
  const byBox = new Map<string, Set<Session>>();
  let looking = false;
  const timer = setInterval(() => void look(lookMs), lookMs);

  function present(session: Session, proof: Proof): void {
    if (session.left) return;
    // the latest last: an acknowledgement is meant for it
    session.presented.delete(proof.box);
    session.presented.set(proof.box, proof);
    const sessions = byBox.get(proof.box) ?? new Set();
    byBox.set(proof.box, sessions.add(session));
    const [oldest] = session.presented.keys();
    if (session.presented.size > maxTokens && oldest !== undefined) forget(session, oldest);
  }

  function forget(session: Session, box: string): void {
    session.presented.delete(box);
    session.vouchedFor.delete(box);
    const sessions = byBox.get(box);
    sessions?.delete(session);
    if (sessions?.size === 0) byBox.delete(box);
  }

  function deliver(reply: SealedReply): void {
    // who asked with this token himself gets an answer of his own, in the form and with the id that he asked for
    const listening = [...(byBox.get(reply.box) ?? [])].filter(
      (session) => session.subscribed && session.lastHeard !== reply.askId && !waitsFor(session, reply.box),
    );
    for (const session of listening) copy(session, reply);
    for (const [session, ask] of open.get(reply.askId) ?? [])
      if (ask.proof.box === reply.box && !ask.answered) void answerAsker(session, ask, reply);
  }

  async function answerAsker(session: Session, ask: OpenAsk, reply: SealedReply): Promise<void> {
    const answer = openAnswer(ask.proof.keys, reply.box, reply.sealed);
    if (answer === undefined) {
      log.warn({ serial: session.serial, askId: ask.askId }, 'an answer does not open with the token that asked');
      withdraw(session, ask.askId);
      return;
    }
    ask.answered = true;
    const outcome = outcomeOf(answer);
    if (outcome === 'right') vouchFor(session, ask.proof.box);
    // what a guess costs is booked before its outcome is heard: neither a device that turned out to be right, nor who
    // guesses again at once, is treated by what was so before
    await ask.settle?.(outcome);
    if (session.asks.get(ask.askId) !== ask) return;
    withdraw(session, ask.askId);
    session.lastHeard = ask.askId;
    send(session, answer, ask.form);
  }

  function waitsFor(session: Session, box: string): boolean {
    return [...session.asks.values()].some((ask) => ask.proof.box === box);
  }

  /** Opening is the proof: a box is public, its key is not. A refusal concerns the asker alone. */
  function copy(session: Session, reply: SealedReply): void {
    const proof = session.presented.get(reply.box);
    const answer = proof && openAnswer(proof.keys, reply.box, reply.sealed);
    if (answer === undefined || !('accepted' in answer)) return;
    session.lastHeard = reply.askId;
    send(session, answer, { format: 'pem', encoding: session.encoding });
  }

  function send(session: Session, answer: Answer, form: ReplyForm): void {
    const serial = session.serial ?? '';
    counters.answered(answer);
    session
      .send(replyTopic(serial), encodeReply(answer, form, now()))
      .catch((err: unknown) => log.debug({ serial, err }, 'the reply could not be written; the device asks again'));
  }

  function enlist(session: Session, ask: OpenAsk): void {
    if (session.left) {
      void ask.settle?.('unknown');
      return;
    }
    open.set(ask.askId, (open.get(ask.askId) ?? new Map<Session, OpenAsk>()).set(session, ask));
    session.asks.set(ask.askId, ask);
  }

  function withdraw(session: Session, askId: string): void {
    const waiting = open.get(askId);
    waiting?.delete(session);
    if (waiting?.size === 0) open.delete(askId);
    session.asks.delete(askId);
  }

  /** Looks for answers whose announcement may have been missed. */
  async function look(olderThanMs: number): Promise<void> {
    if (looking) return;
    looking = true;
    try {
      const due = [...open]
        .filter(([, waiting]) => [...waiting.values()].some(({ since }) => now() - since >= olderThanMs))
        .map(([askId]) => askId);
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
    open(session: Session, ask: OpenAsk): void {
      present(session, ask.proof);
      enlist(session, ask);
    },
    /** The same question waits already, under another id: its answer is this one's. */
    join(session: Session, ask: OpenAsk, askId: string): void {
      withdraw(session, ask.askId);
      enlist(session, { ...ask, askId });
    },
    withdraw,
    /** The connection is gone; its questions are answered to whoever asks them again. */
    leave(session: Session): void {
      session.left = true;
      for (const [askId, ask] of [...session.asks]) {
        if (!ask.answered) void ask.settle?.('unknown');
        withdraw(session, askId);
      }
      for (const box of [...session.presented.keys()]) forget(session, box);
    },
    close(): void {
      clearInterval(timer);
    },
  };
}

/** What an answer says of the token. Where AWS is away, it may not have been looked at. */
function outcomeOf(answer: Answer): GuessOutcome {
  if ('accepted' in answer) return 'right';
  const { code } = answer.rejected;
  if (code === 'InvalidToken') return 'wrong';
  return code === 'UpstreamUnavailable' ? 'unknown' : 'right';
}

export type Desk = ReturnType<typeof createDesk>;

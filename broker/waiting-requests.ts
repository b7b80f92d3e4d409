import { isDeepStrictEqual } from 'node:util';
import type { ReplyForm } from '../protocol/dialect.ts';
import type { AnsweredAs } from '../queue/provisioning-request.ts';
import type { TokenAttemptOutcome } from '../queue/token-attempts.ts';
import type { Told } from './line-estimate.ts';
import type { PresentedToken, Session } from './session.ts';

/** A request of one connection that waits for its answer. */
export type PendingRequest = {
  /** its answer comes under this id */
  readonly requestId: string;
  readonly token: PresentedToken;
  /** `requestKeyOf` the request that the reply answers: this one, or an earlier one that wants the same */
  readonly requestKey: string;
  /** `wantKeyOf` the request: requests with the same key get the same answer */
  readonly wantKey: string;
  /** it stands in no line: it takes nothing from the quotas that devices wait for */
  readonly hasNoPlace?: true;
  /** how the answer is to be written */
  readonly form: ReplyForm;
  /** Settles the attempt of a token that is not verified; `unknown` when the connection closed before its answer. Never rejects. */
  settle?(outcome: TokenAttemptOutcome): Promise<void>;
};

/** One of the times that a connection asked for the same: with an id of its own, say. */
export type AskedOnce = {
  readonly form: ReplyForm;
  /** in milliseconds of the monotonic clock */
  readonly since: number;
  /** how long it was told to wait: each id hears it by itself, since the device may go by the latest one */
  told?: Told;
};

/** A pending request, and how far its answer has come. */
export type WaitingRequest = Omit<PendingRequest, 'form'> & {
  /** the first comes first, and its answer is written once for each of them; no two have the same form */
  readonly asked: AskedOnce[];
  /** its final answer is here, and about to be sent; an answer may be announced twice */
  answered: boolean;
  /** the latest answer that was sent and was not final, as it was sealed */
  sentMeanwhile?: string;
};

const has = (asked: readonly AskedOnce[], form: ReplyForm): boolean =>
  asked.some((each) => isDeepStrictEqual(each.form, form));

/** When its connection asked for it at first, in milliseconds of the monotonic clock. */
export const firstAskedAt = ({ asked: [first] }: WaitingRequest): number => first?.since ?? Number.POSITIVE_INFINITY;

/** Which connections wait for the answers to which requests. The same request of several connections waits for one answer. */
export function createWaitingRequests(now: () => number = () => performance.now()) {
  const byId = new Map<string, Map<Session, WaitingRequest>>();
  const bySession = new WeakMap<Session, Map<string, WaitingRequest>>();

  const requestsOf = (session: Session) => [...(bySession.get(session)?.values() ?? [])];

  function remove(session: Session, requestId: string): void {
    bySession.get(session)?.delete(requestId);
    const sessions = byId.get(requestId);
    sessions?.delete(session);
    if (sessions?.size === 0) byId.delete(requestId);
  }

  function put(session: Session, waiting: WaitingRequest): void {
    const sessions = byId.get(waiting.requestId) ?? new Map<Session, WaitingRequest>();
    byId.set(waiting.requestId, sessions.set(session, waiting));
    const requests = bySession.get(session) ?? new Map<string, WaitingRequest>();
    bySession.set(session, requests.set(waiting.requestId, waiting));
  }

  return {
    add(session: Session, { form, ...request }: PendingRequest): void {
      if (session.closed) void request.settle?.('unknown');
      else put(session, { ...request, asked: [{ form, since: now() }], answered: false });
    },
    remove,
    /**
     * The queue answers this request as it says, and with it all others of this connection that want the same:
     * they may have waited under another id, which the queue has forgotten or answered.
     */
    unite(session: Session, { wantKey }: PendingRequest, { requestId, requestKey }: AnsweredAs): void {
      const same = requestsOf(session).filter((each) => each.wantKey === wantKey && !each.answered);
      const [first] = same;
      if (first === undefined || (same.length === 1 && first.requestId === requestId)) return;
      const asked: AskedOnce[] = [];
      for (const each of same.flatMap((one) => one.asked)) if (!has(asked, each.form)) asked.push(each);
      for (const each of same) remove(session, each.requestId);
      const answered = bySession.get(session)?.get(requestId);
      // its answer is about to be written
      if (answered !== undefined) answered.asked.push(...asked);
      else put(session, { ...first, requestId, requestKey, asked });
    },
    /** Its device is not to hear the answer any more, in this form; a request without a form waits no longer. */
    endWait(session: Session, { requestId, asked, settle }: WaitingRequest, form: ReplyForm): void {
      const at = asked.findIndex((each) => each.form === form);
      if (at >= 0) asked.splice(at, 1);
      if (asked.length > 0) return;
      remove(session, requestId);
      void settle?.('unknown');
    },
    /** Whether a request of this connection waits that is the same in every respect. */
    isRepeated: (session: Session, wantKey: string, form: ReplyForm): boolean =>
      requestsOf(session).some((each) => each.wantKey === wantKey && has(each.asked, form)),
    /** How many answers this connection waits for. */
    countOf: (session: Session): number => requestsOf(session).reduce((sum, { asked }) => sum + asked.length, 0),
    /** Whether this connection waits for an answer that is sealed to this recipient. */
    waitsFor: (session: Session, recipientId: string): boolean =>
      requestsOf(session).some(({ token }) => token.recipientId === recipientId),
    isWaiting: (session: Session, waiting: WaitingRequest): boolean =>
      bySession.get(session)?.get(waiting.requestId) === waiting,
    /** The connections that wait for the answer to this request. */
    has: (requestId: string): boolean => byId.has(requestId),
    askersOf: (requestId: string): [Session, WaitingRequest][] => [...(byId.get(requestId) ?? [])],
    /** The ids of the requests that have waited for at least so long. */
    waitingSince(ms: number): string[] {
      // of ten thousand requests, each second: without a copy of each
      const dueSince = now() - ms;
      const due: string[] = [];
      for (const [requestId, sessions] of byId) {
        for (const request of sessions.values()) {
          if (firstAskedAt(request) > dueSince) continue;
          due.push(requestId);
          break;
        }
      }
      return due;
    },
    /** The connection is gone. @returns the requests that it has got no answer to */
    release(session: Session): string[] {
      const requests = requestsOf(session);
      for (const { requestId, answered, settle } of requests) {
        if (!answered) void settle?.('unknown');
        remove(session, requestId);
      }
      return requests.filter(({ answered }) => !answered).map(({ requestId }) => requestId);
    },
  };
}

import type { ReplyForm } from '../protocol/dialect.ts';
import type { TokenAttemptOutcome } from '../queue/token-attempts.ts';
import type { PresentedToken, Session } from './session.ts';

/** A request of one connection that waits for its answer. */
export type PendingRequest = {
  /** its answer comes under this id */
  readonly requestId: string;
  readonly token: PresentedToken;
  /** `requestKeyOf` the request: requests with the same key get the same answer */
  readonly requestKey: string;
  /** how the answer is to be written */
  readonly form: ReplyForm;
  /** epoch milliseconds */
  readonly since: number;
  /** Settles the attempt of a token that is not verified; `unknown` when the connection closed before its answer. Never rejects. */
  settle?(outcome: TokenAttemptOutcome): Promise<void>;
};

/** A pending request, and how far its answer has come. */
export type WaitingRequest = Omit<PendingRequest, 'form'> & {
  form: ReplyForm;
  /** its final answer is here, and about to be sent; an answer may be announced twice */
  answered: boolean;
  /** the latest answer that was sent and was not final, as it was sealed */
  sentMeanwhile?: string;
};

/** Which connections wait for the answers to which requests. The same request of several connections waits for one answer. */
export function createWaitingRequests(now: () => number) {
  const byId = new Map<string, Map<Session, WaitingRequest>>();
  const bySession = new WeakMap<Session, Map<string, WaitingRequest>>();

  const requestsOf = (session: Session) => [...(bySession.get(session)?.values() ?? [])];

  function remove(session: Session, requestId: string): void {
    bySession.get(session)?.delete(requestId);
    const sessions = byId.get(requestId);
    sessions?.delete(session);
    if (sessions?.size === 0) byId.delete(requestId);
  }

  return {
    add(session: Session, request: PendingRequest): void {
      if (session.closed) {
        void request.settle?.('unknown');
        return;
      }
      const waiting = { ...request, answered: false };
      const sessions = byId.get(request.requestId) ?? new Map<Session, WaitingRequest>();
      byId.set(request.requestId, sessions.set(session, waiting));
      const requests = bySession.get(session) ?? new Map<string, WaitingRequest>();
      bySession.set(session, requests.set(request.requestId, waiting));
    },
    remove,
    /** A request is sent again. @returns whether the first still waits; its answer is then written in the new form */
    repeat(session: Session, requestKey: string, form: ReplyForm): boolean {
      const same = requestsOf(session).find((waiting) => waiting.requestKey === requestKey);
      if (same !== undefined) same.form = form;
      return same !== undefined;
    },
    countOf: (session: Session): number => bySession.get(session)?.size ?? 0,
    /** Whether this connection waits for an answer that is sealed to this recipient. */
    waitsFor: (session: Session, recipientId: string): boolean =>
      requestsOf(session).some(({ token }) => token.recipientId === recipientId),
    isWaiting: (session: Session, waiting: WaitingRequest): boolean =>
      bySession.get(session)?.get(waiting.requestId) === waiting,
    /** The connections that wait for the answer to this request. */
    askersOf: (requestId: string): [Session, WaitingRequest][] => [...(byId.get(requestId) ?? [])],
    /** The ids of the requests that have waited for at least so long. */
    waitingSince(ms: number): string[] {
      const due = [...byId].filter(([, sessions]) => [...sessions.values()].some(({ since }) => now() - since >= ms));
      return due.map(([requestId]) => requestId);
    },
    /** The connection is gone. */
    release(session: Session): void {
      for (const { requestId, answered, settle } of requestsOf(session)) {
        if (!answered) void settle?.('unknown');
        remove(session, requestId);
      }
    },
  };
}

import type { PresentedToken, Session } from './session.ts';

/**
 * The connections that presented a token, by token. Opening an answer proves the token; this only finds the connections that
 * may try. One connection is remembered for its last `maxTokens` tokens.
 */
export function createTokenHolders(maxTokens: number) {
  const sessionsOf = new Map<string, Set<Session>>();

  function remove(session: Session, { recipientId }: PresentedToken): void {
    const sessions = sessionsOf.get(recipientId);
    sessions?.delete(session);
    if (sessions?.size === 0) sessionsOf.delete(recipientId);
  }

  return {
    add(session: Session, token: PresentedToken): void {
      if (session.closed) return;
      const sessions = sessionsOf.get(token.recipientId) ?? new Set();
      sessionsOf.set(token.recipientId, sessions.add(session));
      const dropped = session.keepToken(token, maxTokens);
      if (dropped !== undefined) remove(session, dropped);
    },
    has: (recipientId: string): boolean => sessionsOf.has(recipientId),
    of: (recipientId: string): Session[] => [...(sessionsOf.get(recipientId) ?? [])],
    /** The connection is gone. */
    release(session: Session): void {
      for (const token of session.close()) remove(session, token);
    },
  };
}

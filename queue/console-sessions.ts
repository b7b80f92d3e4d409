/** Sessions of the console, by their hashed ids. The text of a session is the console's business: it signs it. */
export interface SessionStore {
  /** Resolves when it can be used, or when Redis does not answer for the moment. */
  ready(): Promise<void>;
  /** Undefined when there is none, or when it has ended. */
  read(hashedId: string): Promise<string | undefined>;
  /** @param idleMs after so many milliseconds without use the session ends */
  write(hashedId: string, text: string, idleMs: number): Promise<void>;
  /** The session was used: its `idleMs` begin anew. */
  touch(hashedId: string, idleMs: number): Promise<void>;
  end(hashedId: string): Promise<void>;
  close(): Promise<void>;
}

/** Counts attempts to sign in, for all consoles of a gateway together. */
export interface SignInLimiter {
  /** Counts an attempt before the password is looked at. @returns seconds to wait where there were too many; undefined: it may go on */
  attempt(address: string): Promise<number | undefined>;
  /** The attempt succeeded: it counts no more, and strangers' attempts count against this address no more. */
  succeeded(address: string): Promise<void>;
  /** Whether this person and address were not seen within half a day. */
  isFirst(personAndAddress: string): Promise<boolean>;
}

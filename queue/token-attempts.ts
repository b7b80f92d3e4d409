/**
 * Bounds what can be tried at tokens, across all brokers of a site and whatever connections it takes. Only tokens that the
 * broker does not know to be right come here, so that a device with the right one is never held up by those who guess.
 */
export interface TokenAttemptLimiter {
  /**
   * A token that nobody vouches for is about to be evaluated.
   * - `go`: evaluate it, and say what came of it
   * - `wrong`: it was evaluated a short while ago, and was wrong
   * - `wait`: too many guesses for this serial or from this address
   *
   * The same token again, for the same thing, is the same guess; for something else it is work, and counts as another.
   * @throws when Redis is away
   */
  begin(guess: TokenAttempt): Promise<TokenAttemptVerdict>;
  close(): Promise<void>;
}

export type TokenAttempt = {
  readonly serial: string;
  readonly tokenHash: string;
  /** as limits go: an IPv4 address or an IPv6 /64 */
  readonly address: string;
  /** what is asked for with the token: the kind of key, or a CSR */
  readonly requestKey: string;
};

/** What came of a guess; `unknown` when nobody waited for the answer, or it does not say. */
export type TokenAttemptOutcome = 'right' | 'wrong' | 'unknown';

export type TokenAttemptVerdict =
  | { readonly verdict: 'go'; settle(outcome: TokenAttemptOutcome): Promise<void> }
  | { readonly verdict: 'wrong' }
  | { readonly verdict: 'wait'; readonly seconds: number };

export const defaultTokenAttemptLimits = {
  /** different tokens evaluated for one serial until it has been quiet for `serialSeconds` */
  perSerial: 5,
  serialSeconds: 900,
  /** after the nth guess at a serial the next waits 2ⁿ⁻¹ times so long */
  pauseSeconds: 1,
  /** wrong tokens from one address a minute; who exceeds it waits a minute, then two, then four … */
  wrongPerAddress: 20,
  maxAddressPauseSeconds: 3600,
  /** guesses evaluated each second, of all serials and addresses, at one broker */
  perSecond: 100,
};

export type TokenAttemptLimits = typeof defaultTokenAttemptLimits;

/** Lets everything be evaluated. */
export const unlimitedTokenAttempts: TokenAttemptLimiter = {
  begin: async () => ({ verdict: 'go', settle: async () => {} }),
  close: async () => {},
};

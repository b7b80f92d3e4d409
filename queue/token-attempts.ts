/**
 * Bounds attempts at tokens over all brokers and connections of a site. Tokens that the broker knows to be right do not come
 * here, so wrong attempts by others do not delay the real device.
 */
export interface TokenAttemptLimiter {
  /**
   * Called before a token that is not verified is evaluated.
   * - `go`: evaluate it, then call `settle` with the outcome
   * - `wrong`: it was evaluated a short while ago, and was wrong
   * - `wait`: there were too many attempts at this serial or from this address
   *
   * The same token for the same purpose is the same attempt. For another purpose it counts again, since it causes work.
   * @throws when Redis is away
   */
  begin(attempt: TokenAttempt): Promise<TokenAttemptVerdict>;
  close(): Promise<void>;
}

export type TokenAttempt = {
  readonly serial: string;
  readonly tokenHash: string;
  /** IPv4 address, or the /64 of an IPv6 address */
  readonly address: string;
  /** what the token is tried for: the CSR as it was sent, or the kind of key */
  readonly purpose: string;
};

/** The outcome of an attempt; `unknown` when the connection closed first, the request was refused for another reason, or the answer does not show it. */
export type TokenAttemptOutcome = 'right' | 'wrong' | 'unknown';

export type TokenAttemptVerdict =
  | { readonly verdict: 'go'; settle(outcome: TokenAttemptOutcome): Promise<void> }
  | { readonly verdict: 'wrong' }
  | { readonly verdict: 'wait'; readonly seconds: number };

export const defaultTokenAttemptLimits = {
  /** attempts evaluated for one serial until it has been quiet for `serialSeconds` */
  perSerial: 5,
  serialSeconds: 900,
  /** after the nth attempt at a serial the next one waits 2ⁿ⁻¹ times so long */
  pauseSeconds: 1,
  /** attempts from one address in a minute that were not right; beyond that the address waits for one minute, then two, then four … */
  wrongPerAddress: 20,
  maxAddressPauseSeconds: 3600,
  /** attempts evaluated in a second, of all serials and addresses, at one broker */
  perSecond: 100,
};

export type TokenAttemptLimits = typeof defaultTokenAttemptLimits;

/** Lets every token be evaluated: an explicit choice, of tests. */
export const unlimitedTokenAttempts: TokenAttemptLimiter = {
  begin: async () => ({ verdict: 'go', settle: async () => {} }),
  close: async () => {},
};

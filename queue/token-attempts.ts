/**
 * Bounds attempts at tokens over all brokers and connections of a site. Tokens that the broker knows to be right do not come
 * here, so wrong attempts by others do not delay the real device.
 */
export interface TokenAttemptLimiter {
  /**
   * Called before a token that is not verified is evaluated.
   * - `go`: evaluate it, then call `settle` with the outcome
   * - `wrong`: it was evaluated a short while ago, and was wrong
   * - `wait`: there were too many attempts at this serial or from this address; `isCrowded`: too many came at once, which says nothing about this token
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

/**
 * The outcome of an attempt. `unknown`: the connection closed first, or the answer does not show it. `unused`: the request was refused
 * for another reason before its token was judged, and counts against its address, since it caused work.
 */
export type TokenAttemptOutcome = 'right' | 'wrong' | 'unknown' | 'unused';

export type TokenAttemptVerdict =
  /** `wasRight`: a worker has judged it already */
  | { readonly verdict: 'go'; readonly wasRight: boolean; settle(outcome: TokenAttemptOutcome): Promise<void> }
  | { readonly verdict: 'wrong' }
  | { readonly verdict: 'wait'; readonly seconds: number; readonly isCrowded?: boolean };

/**
 * Bounds how many wrong tokens of one address are judged, over all workers of a site. A place is taken before a token is judged, so
 * requests that come at the same moment cannot slip past the limit together; a right token gives it back a few milliseconds later.
 */
export interface WrongTokenLimiter {
  /**
   * Called right before a token is judged that no broker knew to be right.
   * - `go`: judge it, then call `settle`
   * - `full`: the others of this address that are being judged may all be wrong, and then it would be too many. It has waited for a
   *   second, in order, behind those that came before it: try again in a moment
   * - `wait`: there were too many
   *
   * @param address as in `TokenAttempt`
   * @throws when Redis is away
   */
  begin(address: string): Promise<WrongTokenVerdict>;
  close(): Promise<void>;
}

export type WrongTokenVerdict =
  /** `settle` never rejects. `isWrong` is false also where the token was not judged */
  | { readonly verdict: 'go'; settle(isWrong: boolean): Promise<void> }
  | { readonly verdict: 'full' }
  | { readonly verdict: 'wait'; readonly seconds: number };

export const defaultTokenAttemptLimits = {
  /** attempts evaluated for one serial until it has been quiet for `serialSeconds` */
  perSerial: 5,
  serialSeconds: 900,
  /** after the nth attempt at a serial the next one waits 2ⁿ⁻¹ times so long */
  pauseSeconds: 1,
  /** wrong tokens of one address in any minute; after the last of them the address waits for one minute, then two, then four … */
  wrongPerAddress: 20,
  maxAddressPauseSeconds: 3600,
  /** attempts evaluated in a second, of all serials and addresses, at one broker; more wait for their turn, up to `maxTurnSeconds` */
  perSecond: 100,
  /** shorter than a broker waits for Redis to count an attempt (`storeMs` in `broker/limits.ts`) */
  maxTurnSeconds: 3,
};

export type TokenAttemptLimits = typeof defaultTokenAttemptLimits;

/** Lets every token be evaluated: an explicit choice, of tests. */
export const unlimitedTokenAttempts: TokenAttemptLimiter = {
  begin: async () => ({ verdict: 'go', wasRight: false, settle: async () => {} }),
  close: async () => {},
};

/** Lets every token be judged: an explicit choice, of tests. */
export const unlimitedWrongTokens: WrongTokenLimiter = {
  begin: async () => ({ verdict: 'go', settle: async () => {} }),
  close: async () => {},
};

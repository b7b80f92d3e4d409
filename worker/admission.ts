import type { vendingCalls } from '../issuer/vending-calls.ts';

/** Who may begin: a request waits here, before its claim, for all that its calls take from the account's quotas. */
export type Admission = {
  /** @returns undefined when the signal came first. `end` is called when the request has ended */
  admit(
    recipientId: string,
    calls: ReturnType<typeof vendingCalls>,
    signal: AbortSignal,
  ): Promise<{ readonly end: () => Promise<void> } | undefined>;
};

/** For a request that makes no call of AWS IoT, and so takes no token. */
export const nothingToCall = { end: async () => {} };

import { expect } from 'vitest';
import type { Explanation } from '../../operator/explanation.ts';
import { type FailureId, failureText, type GoodStateId } from '../../operator/failures.ts';
import type { Gateway } from './gateway.ts';

/** Asks why a device has no certificate, until the answer is this one: what was seen is written a moment later. */
export function expectVerdicts(gateway: () => Gateway, now: () => number = Date.now) {
  let explainer: ReturnType<Gateway['explainerAt']> | undefined;
  return async (serial: string, id: FailureId | GoodStateId): Promise<Explanation> => {
    explainer ??= gateway().explainerAt(now);
    const asked = explainer;
    let last: Explanation | undefined;
    await expect
      .poll(
        async () => {
          last = await asked.explain(serial);
          return last.verdict.id;
        },
        { timeout: 15_000, interval: 250, message: `the verdict on ${serial}` },
      )
      .toBe(id);
    const explanation = last as Explanation;
    const { cause, cure } = failureText(id, serial);
    expect(explanation.verdict.cause).toContain(cause);
    if (cure !== '') expect(explanation.verdict.cure).toMatch(/.{8,}/);
    return explanation;
  };
}

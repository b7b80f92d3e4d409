import type { Issuer } from '../issuer/issuer.ts';

/** The steps of the issuance cycle at AWS IoT Core that are followed, for `cvm explain`. Others are seen when they fail. */
const steps = ['ensureThing', 'issue', 'findInactive', 'attach', 'configure', 'activate', 'withdraw'] as const;

/** Steps of one request that are kept; a device has nine at most. */
const maxSteps = 12;

/**
 * The issuer, for one request: `text` says which steps were made, in their order, with milliseconds, and a minus where one failed.
 * @param onLasting is called, during a step, with an error of AWS that stays: the step itself ends only when time is up
 */
export function followIssuer(
  issuer: Issuer,
  onLasting: (error: unknown) => void = () => {},
  now: () => number = () => performance.now(),
) {
  const made: string[] = [];
  const followed: Record<string, unknown> = {};
  for (const step of steps) {
    const act = issuer[step] as (...args: unknown[]) => Promise<unknown>;
    followed[step] = async (...args: unknown[]) => {
      const began = now();
      const note = (sign: string) => {
        if (made.length < maxSteps) made.push(`${step} ${sign}${Math.round(now() - began)}`);
      };
      try {
        const result = await act.apply(issuer, step === 'attach' ? [...args, onLasting] : args);
        note('');
        return result;
      } catch (error) {
        note('-');
        throw error;
      }
    };
  }
  return { issuer: { ...issuer, ...followed } as Issuer, text: () => made.join(',') };
}

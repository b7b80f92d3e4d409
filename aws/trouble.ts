import { errorText } from '../runtime/errors.ts';
import { cureOf, UpstreamRefused, UpstreamThrottled } from '../runtime/upstream.ts';
import { silenceCure } from './connections.ts';
import { concernsAll } from './errors.ts';
import { ForeignAnswer } from './foreign-answer.ts';
import type { AwsGate } from './gate.ts';
import type { AwsOperation } from './iam-policy.ts';

/** Milliseconds: for how long a call without an answer is no trouble, and a trouble is told that no later call confirms. */
const [patienceMs, memoryMs] = [10_000, 120_000];

/** Whether AWS answers, as the calls of this process show. */
export type AwsTrouble = {
  /** Why calls fail now, and the cure; undefined when they do not. */
  text(): string | undefined;
  /** Milliseconds since a call began or ended; Infinity before the first. */
  quietMs(): number;
  began(operation: AwsOperation): (error?: unknown) => void;
};

export function createAwsTrouble(now: () => number = () => performance.now()): AwsTrouble {
  const failed = new Map<AwsOperation, { readonly text: string; readonly at: number }>();
  const waiting = new Map<symbol, { readonly operation: AwsOperation; readonly since: number }>();
  let lastAt = Number.NEGATIVE_INFINITY;

  function troubles(): string[] {
    const late = [...waiting.values()].filter(({ since }) => now() - since > patienceMs);
    const recent = [...failed.values()].filter(({ at }) => now() - at < memoryMs);
    return [
      ...late.map(
        ({ operation }) => `AWS has not answered ${operation} for over ${patienceMs / 1000} s: ${silenceCure}`,
      ),
      ...recent.map(({ text }) => text),
    ];
  }

  return {
    text: () => troubles()[0],
    quietMs: () => now() - lastAt,
    began(operation) {
      const call = Symbol(operation);
      waiting.set(call, { operation, since: now() });
      lastAt = now();
      return (error) => {
        waiting.delete(call);
        lastAt = now();
        const text = error === undefined ? undefined : troubleOf(operation, error);
        if (text === undefined) failed.delete(operation);
        else failed.set(operation, { text, at: now() });
      };
    },
  };
}

/** A gate that notes how each call ends. */
export function withTrouble(gate: AwsGate, trouble: AwsTrouble): AwsGate {
  return {
    async call(operation, send) {
      const end = trouble.began(operation);
      try {
        const result = await gate.call(operation, send);
        end();
        return result;
      } catch (error) {
        end(error ?? 'unknown');
        throw error;
      }
    },
  };
}

/** undefined for an error that is an answer: a condition that failed, a limit on calls, a mistake in the row of one device. */
function troubleOf(operation: AwsOperation, error: unknown): string | undefined {
  if (error instanceof UpstreamThrottled) return undefined;
  if (error instanceof UpstreamRefused)
    return concernsAll(operation, error) ? `AWS refuses ${operation}: ${error.cure}` : undefined;
  const { $metadata } = error as { $metadata?: { httpStatusCode?: number } };
  const status = $metadata?.httpStatusCode ?? 500;
  return status < 500 && !(error instanceof ForeignAnswer)
    ? undefined
    : `AWS does not answer ${operation} (${errorText(error)}): ${cureOf(error) ?? silenceCure}`;
}

import { setTimeout as sleep } from 'node:timers/promises';
import { untilTaken } from '../runtime/throttled.ts';
import type { AwsGate } from './gate.ts';

/** A gate that makes a throttled call again, which did nothing. @param onWait is called before each wait */
export function withThrottlingAwaited(
  gate: AwsGate,
  onWait: () => void,
  wait: (ms: number) => Promise<unknown> = sleep,
): AwsGate {
  return { call: (operation, send) => untilTaken(() => gate.call(operation, send), wait, onWait) };
}

import { type Credential, type Flow, type Gateway, type Outcome, runDevice } from './device.ts';
import { type Report, report } from './report.ts';

export type SimOptions = {
  readonly gateway: Gateway;
  readonly devices: readonly Credential[];
  readonly flow: Flow;
  /** devices connected at the same time */
  readonly concurrency: number;
  /** for each device, in milliseconds */
  readonly timeoutMs: number;
  /** ends the run early; devices that have not ended by then are not in the report */
  readonly signal?: AbortSignal;
  readonly onProgress?: (done: number, outcome: Outcome) => void;
};

/** Provisions all devices through the gateway's MQTT port and reports how each ended. */
export async function simulate({
  gateway,
  devices,
  flow,
  concurrency,
  timeoutMs,
  signal,
  onProgress,
}: SimOptions): Promise<Report> {
  const start = performance.now();
  const outcomes: Outcome[] = [];
  const waiting = [...devices].reverse();
  const serve = async () => {
    for (let device = waiting.pop(); device !== undefined && !signal?.aborted; device = waiting.pop()) {
      const outcome = await runDevice(gateway, device, flow, { timeoutMs });
      outcomes.push(outcome);
      onProgress?.(outcomes.length, outcome);
    }
  };
  const all = Promise.all(Array.from({ length: Math.min(concurrency, devices.length) }, serve));
  const aborted = new Promise<void>((resolve) => signal?.addEventListener('abort', () => resolve(), { once: true }));
  await Promise.race([all, aborted]);
  return report([...outcomes], performance.now() - start);
}

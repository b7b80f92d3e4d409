import type { Telemetry } from 'bullmq';

/** What a span says. Ids and outcomes only: no token, no key, no payload. */
export type SpanAttributes = Readonly<Record<string, string | number | boolean>>;

/** `packet`: begins a trace. `call`: to a service outside. */
export type SpanKind = 'packet' | 'call';

/**
 * Makes spans of what a request goes through. A part that has none makes none: it is absent where traces are off (`CVM_TRACES`), and then nothing
 * of OpenTelemetry is loaded.
 */
export type Tracing = {
  /** carries the trace through the queue */
  readonly queue: Telemetry;
  /**
   * Runs `work` in a span. Without one around it only a `packet` makes one: what a gateway does by itself (the sweep, say) is no request of a device.
   * @param told what is known when it has ended well
   */
  span<T>(
    name: string,
    kind: SpanKind,
    attributes: SpanAttributes,
    work: () => Promise<T>,
    told?: (result: T) => SpanAttributes,
  ): Promise<T>;
};

/** W3C Trace Context, version 00 (https://www.w3.org/TR/trace-context/#traceparent-header). */
const traceparent = /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/;

/**
 * What a job says of its trace, as far as that is one: anybody who writes to Redis may have written it.
 * @param metadata JSON, as BullMQ stores it
 */
export function traceOf(metadata: unknown): string | undefined {
  if (typeof metadata !== 'string' || metadata.length > 1024) return undefined;
  try {
    const { traceparent: parent } = JSON.parse(metadata) as { traceparent?: unknown };
    return typeof parent === 'string' && traceparent.test(parent) ? JSON.stringify({ traceparent: parent }) : undefined;
  } catch {
    return undefined;
  }
}

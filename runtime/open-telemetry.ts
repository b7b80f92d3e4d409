import {
  type Context,
  context,
  INVALID_SPAN_CONTEXT,
  isSpanContextValid,
  SpanKind as OtelKind,
  type Span,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { defaultResource, detectResources, envDetector, resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, NodeTracerProvider } from '@opentelemetry/sdk-trace-node';
import type { Telemetry } from 'bullmq';
import { BullMQOTelSpan, BullMQOtel } from 'bullmq-otel';
import { within } from './deadline.ts';
import { describeError } from './errors.ts';
import type { Log } from './log.ts';
import type { SpanAttributes, SpanKind, Tracing } from './tracing.ts';

/** For the spans that are not sent yet, at the end. Milliseconds. */
const flushMs = 2000;

const kinds: Readonly<Record<SpanKind, OtelKind>> = { packet: OtelKind.SERVER, call: OtelKind.CLIENT };

/**
 * Spans by OpenTelemetry, sent by OTLP over HTTP. The SDK reads the standard variables by itself: OTEL_EXPORTER_OTLP_ENDPOINT and …_HEADERS,
 * OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER, OTEL_BSP_… . A collector that is away costs spans, and nothing else.
 * @param service the name where OTEL_SERVICE_NAME gives none
 */
export function startTracing({ service, version, log }: { service: string; version: string; log: Log }): Tracing & {
  readonly name: string;
  close(): Promise<void>;
} {
  const named = resourceFromAttributes({ 'service.name': service, 'service.version': version });
  const provider = new NodeTracerProvider({
    resource: defaultResource()
      .merge(named)
      .merge(detectResources({ detectors: [envDetector] })),
    spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
  });
  provider.register();
  const tracer = trace.getTracer('cvm-gateway', version);
  return {
    name: 'traces',
    queue: onlyInTraces(new BullMQOtel({ tracerName: 'bullmq', version })),
    async span(name, kind, attributes, work, told) {
      if (kind !== 'packet' && !isInTrace(context.active())) return work();
      return tracer.startActiveSpan(name, { kind: kinds[kind], attributes }, (span) => run(span, work, told));
    },
    async close() {
      await within(flushMs, 'sending the last traces', provider.shutdown()).catch((err: unknown) =>
        log.warn({ err }, 'the last traces could not be sent'),
      );
    },
  };
}

async function run<T>(span: Span, work: () => Promise<T>, told?: (result: T) => SpanAttributes): Promise<T> {
  try {
    const result = await work();
    if (told !== undefined) span.setAttributes({ ...told(result) });
    return result;
  } catch (error) {
    // the same part of an error as in the log: libraries put requests into their errors
    const { name = 'Error', message } = describeError(error);
    span.recordException({ name, message });
    span.setStatus({ code: SpanStatusCode.ERROR, message });
    throw error;
  } finally {
    span.end();
  }
}

function isInTrace(at: Context): boolean {
  const around = trace.getSpanContext(at);
  return around !== undefined && isSpanContextValid(around);
}

/** BullMQ also makes spans of its housekeeping, some each second: traces begin with a device's message. */
function onlyInTraces(telemetry: BullMQOtel): Telemetry {
  const { tracer, contextManager } = telemetry as unknown as Telemetry<Context>;
  return {
    contextManager,
    tracer: {
      startSpan(name, options, at) {
        if (isInTrace(at ?? context.active())) return withDescribedErrors(tracer.startSpan(name, options, at));
        return new BullMQOTelSpan(trace.wrapSpanContext(INVALID_SPAN_CONTEXT)) as unknown as ReturnType<
          typeof tracer.startSpan
        >;
      },
    },
  } as Telemetry;
}

/** An error is shown as the log shows it. */
function withDescribedErrors<S extends ReturnType<Telemetry['tracer']['startSpan']>>(span: S): S {
  const record = span.recordException.bind(span);
  span.recordException = (error, time) => {
    const { name = 'Error', message } = describeError(error);
    record({ name, message }, time);
  };
  return span;
}

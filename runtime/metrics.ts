import { Counter as PromCounter, Gauge as PromGauge, Histogram as PromHistogram, Registry } from 'prom-client';

/**
 * The values that each label of a metric can take: unions of words, never `string`. So a label cannot hold a serial or
 * another id, of which there would be one time series each.
 */
type Labels = Readonly<Record<string, string>>;
type Bounded<L> = { [Name in keyof L]: string extends L[Name] ? never : L[Name] };
type NoLabels = Record<never, string>;
/** Each label by its name: prom-client wants them as values, and none may be missing. */
type LabelNames<L> = { readonly [Name in keyof L]: true };

/** Counts events since the start of the process. */
export type Counter<L> = { inc(...labels: keyof L extends never ? [] : [labels: L]): void };
/** A number that a part keeps anyway. `read` is called when the metrics are read, so reporting costs nothing meanwhile. */
export type Reading = { readFrom(read: () => number): void };
/** Durations in seconds. It counts them as well, so it needs no counter beside it. */
export type Histogram<L> = { observe(seconds: number, labels: L): void };

/** Where metrics are read. */
export type MetricsRegistry = Registry;

type Definition<Metric> = (registry: Registry) => Metric;

export function counter<L extends Bounded<L> & Labels = NoLabels>(
  name: string,
  help: string,
  ...[labels]: keyof L extends never ? [] : [labels: LabelNames<L>]
): Definition<Counter<L>> {
  const labelNames = Object.keys(labels ?? {});
  return (registry) => {
    const metric = new PromCounter<string>({ name, help, labelNames, registers: [registry] });
    return { inc: (values?: Labels) => (values === undefined ? metric.inc() : metric.inc(values)) };
  };
}

/** A reading that goes up and down. */
export function gauge(name: string, help: string): Definition<Reading> {
  return (registry) => {
    const source = createSource();
    new PromGauge({
      name,
      help,
      registers: [registry],
      collect() {
        this.set(source.read());
      },
    });
    return source;
  };
}

/** A reading that only goes up. */
export function total(name: string, help: string): Definition<Reading> {
  return (registry) => {
    const source = createSource();
    new PromCounter({
      name,
      help,
      registers: [registry],
      collect() {
        this.reset();
        this.inc(source.read());
      },
    });
    return source;
  };
}

function createSource() {
  let read = () => 0;
  return {
    read: () => read(),
    readFrom(source: () => number): void {
      read = source;
    },
  };
}

/** @param buckets upper bounds in seconds, ascending */
export function histogram<L extends Bounded<L> & Labels>(
  name: string,
  help: string,
  buckets: readonly number[],
  labels: LabelNames<L>,
): Definition<Histogram<L>> {
  const labelNames = Object.keys(labels);
  return (registry) => {
    const metric = new PromHistogram<string>({ name, help, buckets: [...buckets], labelNames, registers: [registry] });
    return { observe: (seconds, values) => metric.observe(values, seconds) };
  };
}

type Definitions = Readonly<Record<string, Definition<unknown>>>;

export type MetricsOf<D extends Definitions> = {
  readonly [Name in keyof D]: D[Name] extends Definition<infer Metric> ? Metric : never;
};

/**
 * Makes every defined metric. Parts get `metrics` and report to it; `metricsRegistry.metrics()` is the text that Prometheus
 * reads. Nothing is global: each call makes a set of its own.
 */
export function registerMetrics<D extends Definitions>(definitions: D) {
  const metricsRegistry = new Registry();
  const made = Object.entries(definitions).map(([name, define]) => [name, define(metricsRegistry)]);
  return { metrics: Object.fromEntries(made) as MetricsOf<D>, metricsRegistry };
}

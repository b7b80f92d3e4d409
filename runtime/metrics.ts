import {
  AggregatorRegistry,
  collectDefaultMetrics,
  type MetricObject,
  Counter as PromCounter,
  Gauge as PromGauge,
  Histogram as PromHistogram,
  Registry,
} from 'prom-client';

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

/** How the readings of several processes become one. */
type Merge = 'sum' | 'max' | 'min' | 'first';

/**
 * A reading that goes up and down. Where no part gives it a source, it has no value: a worker must not say that no connection is open.
 * @param merge how the values of several broker processes become one
 */
export function gauge(name: string, help: string, merge: Merge = 'sum'): Definition<Reading> {
  return (registry) => {
    const source = createSource();
    new PromGauge({
      name,
      help,
      registers: [registry],
      aggregator: merge,
      collect() {
        const value = source.read();
        if (value === undefined) this.remove();
        else this.set(value);
      },
    });
    return source;
  };
}

/** Several numbers that a part keeps anyway, told apart by their labels. */
export type Readings<L> = { readFrom(read: () => Iterable<readonly [labels: L, value: number]>): void };

/** Readings by label. The labels are the caller's to bound: one time series each. */
export function gauges<L extends Labels>(
  name: string,
  help: string,
  labels: LabelNames<L>,
  merge: Merge = 'sum',
): Definition<Readings<L>> {
  return (registry) => {
    const sources: (() => Iterable<readonly [L, number]>)[] = [];
    new PromGauge<string>({
      name,
      help,
      labelNames: Object.keys(labels),
      registers: [registry],
      aggregator: merge,
      collect() {
        this.reset();
        for (const read of sources) for (const [values, value] of read()) this.set(values, value);
      },
    });
    return { readFrom: (read) => void sources.push(read) };
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
        const value = source.read();
        if (value === undefined) return void this.remove();
        this.reset();
        this.inc(value);
      },
    });
    return source;
  };
}

function createSource() {
  let read: () => number | undefined = () => undefined;
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

/** The readings of one process, in the form in which it sends them to another process. */
export type MetricsSnapshot = readonly MetricObject[];

/**
 * What Node.js tells of its process: CPU, memory, open files, garbage collection. Measuring begins with this call. The sampling of the event
 * loop is left out: it would wake an idle process a hundred times a second, and `cvm_broker_event_loop_delay_seconds` says the same.
 */
export function addProcessMetrics(registry: MetricsRegistry): void {
  collectDefaultMetrics({ register: registry, eventLoopMonitoringPrecision: 3_600_000 });
  for (const part of ['min', 'max', 'mean', 'stddev', 'p50', 'p90', 'p99'])
    registry.removeSingleMetric(`nodejs_eventloop_lag_${part}_seconds`);
}

/** The metrics of one process, to be merged with those of others. */
export async function snapshotOf(registry: MetricsRegistry): Promise<MetricsSnapshot> {
  return (await registry.getMetricsAsJSON()) as MetricObject[];
}

/** One text of the metrics of several processes: counters and histograms are added up, gauges as each of them says. */
export async function mergedText(snapshots: readonly MetricsSnapshot[]): Promise<string> {
  return AggregatorRegistry.aggregate(snapshots as unknown as MetricObject[]).metrics();
}

/**
 * Keeps what processes have counted, so that no sum of theirs falls: Prometheus takes a lower value for a new start from 0, and adds all of the sum
 * again (https://github.com/prometheus/client_js/issues/385).
 */
export function keepCounts<Process extends object>() {
  const lastTold = new Map<Process, MetricsSnapshot>();
  let ofEnded: MetricsSnapshot = [];
  return {
    /**
     * @param told by each process that runs; undefined where it has not answered
     * @returns the same, with what ended processes had counted, and what a silent one has counted until it answered last
     */
    async complete(told: ReadonlyMap<Process, MetricsSnapshot | undefined>): Promise<readonly MetricsSnapshot[]> {
      const ended = [...lastTold].filter(([process]) => !told.has(process));
      for (const [process] of ended) lastTold.delete(process);
      if (ended.length > 0) ofEnded = await addedUp([ofEnded, ...ended.map(([, counts]) => counts)]);
      for (const [process, snapshot] of told)
        if (snapshot !== undefined) lastTold.set(process, snapshot.filter(isCount));
      return [ofEnded, ...[...told].map(([process, snapshot]) => snapshot ?? lastTold.get(process) ?? [])];
    },
  };
}

/** Gauges end with their process: an ended one has no connection open. prom-client gives types as words. */
const isCount = ({ type }: MetricObject): boolean => ['counter', 'histogram'].includes(String(type));

const addedUp = async (snapshots: readonly MetricsSnapshot[]): Promise<MetricsSnapshot> =>
  (await AggregatorRegistry.aggregate(snapshots as unknown as MetricObject[]).getMetricsAsJSON()) as MetricObject[];

/** The type of the text, for HTTP. */
export const metricsContentType = Registry.PROMETHEUS_CONTENT_TYPE;

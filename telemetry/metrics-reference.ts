import { createMetrics } from './metrics.ts';

/** What prom-client keeps of a metric that it has made. */
type Made = {
  readonly name: string;
  readonly help: string;
  readonly type: unknown;
  readonly labelNames?: readonly string[];
};

/** Every metric of the product as rows of a Markdown table, in the order of `metrics.ts`, for docs/monitoring.md. */
export function metricsReference(): string {
  const all = createMetrics().metricsRegistry.getMetricsAsArray() as unknown as readonly Made[];
  const rows = all.map(({ name, help, type, labelNames = [] }) => {
    const labels = labelNames.filter((label) => label !== 'le').map((label) => `\`${label}\``);
    return `| \`${name}\` | ${String(type)} | ${labels.join(', ')} | ${help} |`;
  });
  return ['| metric | type | labels | is |', '| --- | --- | --- | --- |', ...rows].join('\n');
}

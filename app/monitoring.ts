import type { HealthReport } from '../runtime/health-files.ts';
import type { Log } from '../runtime/log.ts';
import {
  addProcessMetrics,
  type MetricsRegistry,
  type MetricsSnapshot,
  mergedText,
  snapshotOf,
} from '../runtime/metrics.ts';
import { packageVersion } from '../runtime/version.ts';
import type { Metrics } from '../telemetry/metrics.ts';

/** What the parts of a process have to say when somebody reads. Each part adds its own at its start. */
export type Monitoring = {
  addHealth(report: () => HealthReport): void;
  /** another text of metrics, in the format of Prometheus. One that cannot be read is left out */
  addText(read: () => Promise<string>): void;
  /** what other processes of this part report; those that do not answer are left out */
  addProcesses(read: () => Promise<readonly MetricsSnapshot[]>): void;
  health(): readonly HealthReport[];
  /** of this process alone */
  snapshot(): Promise<MetricsSnapshot>;
  /** of all processes */
  text(): Promise<string>;
};

export function createMonitoring(metrics: Metrics, registry: MetricsRegistry, log: Log): Monitoring {
  const reports: (() => HealthReport)[] = [];
  const texts: (() => Promise<string>)[] = [];
  const others: (() => Promise<readonly MetricsSnapshot[]>)[] = [];
  const health = () => reports.map((report) => report());
  metrics.buildInfo.readFrom(() => [[buildLabels(), 1]]);
  metrics.healthCheckOk.readFrom(() => health().flatMap(checksOf));
  let measures = false;
  async function snapshot(): Promise<MetricsSnapshot> {
    // measuring the process costs something: not before anybody reads it
    if (!measures) addProcessMetrics(registry);
    measures = true;
    return snapshotOf(registry);
  }
  const readText = async (read: () => Promise<string>) =>
    read().catch((err: unknown) => {
      log.debug({ err }, 'some metrics could not be read');
      return '';
    });
  return {
    addHealth: (report) => void reports.push(report),
    addText: (read) => void texts.push(read),
    addProcesses: (read) => void others.push(read),
    health,
    snapshot,
    async text() {
      const [own, ...more] = await Promise.all([snapshot(), ...others.map((read) => read())]);
      const added = await Promise.all(texts.map(readText));
      return [await mergedText([own, ...more.flat()]), ...added].join('');
    },
  };
}

function checksOf({ part, checks }: HealthReport) {
  return checks.map(
    ({ name, trouble }) => [{ part: part.replace(/-\d+$/, ''), check: name }, trouble === undefined ? 1 : 0] as const,
  );
}

function buildLabels() {
  const { version, revision } = packageVersion();
  return { version, revision, node_version: process.versions.node };
}

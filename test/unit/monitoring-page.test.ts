import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createMetrics } from '../../telemetry/metrics.ts';
import { metricsReference } from '../../telemetry/metrics-reference.ts';
import { find } from '../support/lacks.ts';

const folder = 'deploy/monitoring';
const rules = readFileSync(join(folder, 'rules/cvm-gateway.yml'), 'utf8');
const dashboard = readFileSync(join(folder, 'grafana/dashboards/cvm-gateway.json'), 'utf8');
const runbooks = readFileSync('docs/operations.md', 'utf8');
const prometheusSettings = readFileSync(join(folder, 'prometheus.yml'), 'utf8');
const promtool = find('promtool');

const ours = new Set(
  createMetrics()
    .metricsRegistry.getMetricsAsArray()
    .map(({ name }) => name),
);
/** What Prometheus, prom-client and BullMQ name themselves. */
const ofOthers = [
  'up',
  'bullmq_job_count',
  'process_cpu_seconds_total',
  'process_resident_memory_bytes',
  'process_start_time_seconds',
];
/** Names of metrics in an expression: words that no function, label or keyword is. */
const namesIn = (text: string) => [
  ...new Set([...text.matchAll(/\b(?:cvm|bullmq|process|nodejs)_[a-z0-9_]+/g)].map(([name]) => name)),
];
const isKnown = (name: string) =>
  ours.has(name) || ours.has(name.replace(/_(bucket|count|sum)$/, '')) || ofOthers.includes(name);

type Panel = {
  title: string;
  type: string;
  id: number;
  targets?: { expr: string; refId: string; datasource: object }[];
  datasource?: object;
  gridPos: { x: number; y: number; w: number; h: number };
};
type Dashboard = {
  uid: string;
  schemaVersion: number;
  panels: Panel[];
  templating: { list: { name: string; type: string; query: string }[] };
};
const parsed = JSON.parse(dashboard) as Dashboard;
const { panels } = parsed;
const alerts = [...rules.matchAll(/- alert: (\w+)\n +expr: >-\n +(.+)\n[\s\S]*?runbook_url: "?([^"\n]+)/g)].map(
  ([, name = '', expr = '', runbook = '']) => ({ name, expr, runbook }),
);

/** As GitHub makes it of a heading. */
const anchorOf = (heading: string) =>
  heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N}\s_-]/gu, '')
    .trim()
    .replace(/\s/g, '-');
const anchors = [...runbooks.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) => anchorOf(heading));

/** Series in promtool's notation, one value a minute, by the alert that must fire before they end. */
type Series = Readonly<Record<string, string>>;
const check = (name: string, part = 'broker'): Series => ({
  [`cvm_health_check_ok{instance="b",part="${part}",check="${name}"}`]: '1x10 0x80',
});
const well: Series = {
  'up{job="cvm-gateway",instance="b",part="broker"}': '1x600',
  'process_start_time_seconds{instance="w"}': '0x600',
  'cvm_health_check_ok{instance="b",part="broker",check="redis"}': '1x600',
  'cvm_worker_line_length{instance="w"}': '0x600',
  'cvm_worker_line_oldest_seconds{instance="w"}': '0x600',
  'cvm_worker_sweep_end_timestamp_seconds{instance="w"}': '0+60x600',
  'cvm_worker_requests_total{instance="w",outcome="vended"}': '0+60x600',
  'cvm_aws_call_seconds_count{instance="w",operation="iot:CreateThing",outcome="done"}': '0+60x600',
  'cvm_broker_connections_total{instance="b"}': '0+60x600',
  'cvm_broker_connections_refused_total{instance="b"}': '0x600',
  'cvm_broker_handshakes_failed_total{instance="b"}': '0x600',
  'cvm_broker_event_loop_delay_seconds{instance="b"}': '0.01x600',
};
const faults: Readonly<Record<string, readonly Series[]>> = {
  CvmPartDown: [
    { 'up{job="cvm-gateway",instance="b",part="broker"}': '1x10 0x80' },
    // another name of the job
    { 'up{job="plant-7-cvm",instance="b"}': '0x90' },
    // the container has ended, and service discovery has forgotten it
    { 'up{job="cvm-gateway",instance="b",part="broker"}': '1x10 stale' },
  ],
  CvmRedisTrouble: [check('redis'), check('redis', 'worker')],
  CvmAwsTrouble: [check('aws', 'worker')],
  CvmNoWorker: [check('workers')],
  CvmTurningDevicesAway: [check('slots'), { 'cvm_broker_connections_refused_total{instance="b"}': '0+600x90' }],
  CvmAuditTrail: [check('audit')],
  CvmOtherTable: [check('table', 'worker')],
  CvmBrokerProcess: [check('process-2')],
  CvmStartWaits: [check('start')],
  CvmLongLine: [{ 'cvm_worker_line_oldest_seconds{instance="w"}': '0+60x90' }],
  CvmAwsThrottles: [{ 'cvm_aws_call_seconds_count{operation="iot:CreateThing",outcome="throttled"}': '0+60x90' }],
  CvmAwsRefuses: [
    { 'cvm_aws_call_seconds_count{operation="iot:CreateThing",outcome="refused"}': '0+1x90' },
    // once only: the counter was absent before
    { 'cvm_aws_call_seconds_count{operation="iot:CreateThing",outcome="refused"}': '_x80 1x10' },
  ],
  CvmRequestsFail: [{ 'cvm_worker_requests_total{outcome="failed"}': '0+60x90' }],
  CvmForgedRequests: [
    { 'cvm_worker_requests_total{outcome="forged"}': '0x80 1x10' },
    { 'cvm_worker_requests_total{outcome="forged"}': '_x80 1x10' },
    { 'cvm_worker_requests_total{outcome="not_approved"}': '_x80 1x10' },
  ],
  CvmWrongTokens: [{ 'cvm_broker_messages_refused_total{kind="request",error_code="InvalidToken"}': '0+120x90' }],
  CvmHandshakesFail: [
    {
      'cvm_broker_handshakes_failed_total{instance="b"}': '0+60x90',
      'cvm_broker_connections_total{instance="b"}': '0+60x90',
    },
  ],
  CvmServerCertificateEnds: [{ 'cvm_broker_certificate_expiry_timestamp_seconds{certificate="server"}': '200000x90' }],
  CvmSiteCaEnds: [{ 'cvm_broker_certificate_expiry_timestamp_seconds{certificate="ca"}': '9000000x90' }],
  CvmSweepLate: [
    { 'cvm_worker_sweep_end_timestamp_seconds{instance="w"}': '0x280' },
    // none has ended since the worker started
    { 'process_start_time_seconds{instance="w"}': '0x280', 'cvm_worker_line_length{instance="w"}': '0x280' },
  ],
  CvmEventLoopSlow: [{ 'cvm_broker_event_loop_delay_seconds{instance="b"}': '0.01x10 2x80' }],
};

const seriesOf = (series: Series) => Object.entries(series).map(([name, values]) => ({ series: name, values }));

/** A file for promtool; JSON is YAML. */
function testsOf(rows: typeof faults) {
  const firing = (name: string, count: number, minute: number) => ({
    expr: `count(ALERTS{alertstate="firing"${name === '' ? '' : `,alertname="${name}"`}})`,
    eval_time: `${minute}m`,
    exp_samples: count === 0 ? [] : [{ labels: '{}', value: count }],
  });
  const fault = (name: string, series: Series) => {
    const minute = name === 'CvmSweepLate' ? 270 : 88;
    return { name, interval: '1m', input_series: seriesOf(series), promql_expr_test: [firing(name, 1, minute)] };
  };
  return {
    rule_files: [resolve(folder, 'rules/cvm-gateway.yml')],
    evaluation_interval: '1m',
    tests: [
      {
        name: 'well',
        interval: '1m',
        input_series: seriesOf(well),
        promql_expr_test: [10, 60, 300, 590].map((minute) => firing('', 0, minute)),
      },
      ...Object.entries(rows).flatMap(([name, each]) => each.map((series) => fault(name, series))),
    ],
  };
}

describe('deploy/monitoring', () => {
  it('names only metrics that the product, Node.js or BullMQ has', () => {
    const names = namesIn(
      [
        ...alerts.map(({ expr }) => expr),
        ...panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)),
      ].join('\n'),
    )
      // labels
      .filter((name) => name !== 'node_version');
    expect(names.length).toBeGreaterThan(20);
    expect(names.filter((name) => !isKnown(name))).toEqual([]);
  });

  it('shows every metric of the product on the dashboard', () => {
    const shown = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)).join('\n');
    expect([...ours].filter((name) => !shown.includes(name))).toEqual([]);
  });

  it('has panels that do not overlap, each with its own id', () => {
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, at) => `${x + (at % w)},${y + Math.floor(at / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
  });

  it('has a runbook in docs/operations.md for every alert, and no runbook without an alert', () => {
    expect(alerts.length).toBe([...rules.matchAll(/- alert:/g)].length);
    expect(alerts.map(({ runbook }) => runbook)).toEqual(
      alerts.map(({ name }) => `{{ $externalLabels.cvm_runbooks }}#${name.toLowerCase()}`),
    );
    expect(alerts.filter(({ runbook }) => !anchors.includes(runbook.split('#')[1] ?? ''))).toEqual([]);
    const headings = [...runbooks.matchAll(/^### (Cvm\w+)$/gm)].map(([, name]) => name);
    expect(headings).toEqual(alerts.map(({ name }) => name));
  });

  it('links each alert to its runbook by a whole address, of which a site names the begin once', () => {
    const [, begin = ''] = /^ {4}cvm_runbooks: (\S+)$/m.exec(prometheusSettings) ?? [];
    for (const { runbook } of alerts) {
      const url = new URL(runbook.replace('{{ $externalLabels.cvm_runbooks }}', begin));
      expect(url.protocol).toBe('https:');
      expect(url.pathname).toMatch(/\/docs\/operations\.md$/);
      expect(anchors).toContain(url.hash.slice(1));
    }
  });

  it('has a dashboard that finds the data source of any Grafana, as its format asks', () => {
    const { uid, schemaVersion, templating } = parsed;
    expect(uid).toMatch(/^[\w-]{1,40}$/);
    // of Grafana 11; a later one converts it, an earlier one than 8 does not read it
    expect(schemaVersion).toBeGreaterThanOrEqual(36);
    expect(templating.list).toContainEqual(
      expect.objectContaining({ name: 'datasource', type: 'datasource', query: 'prometheus' }),
    );
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a variable of Grafana
    const source = { type: 'prometheus', uid: '${datasource}' };
    for (const { title, type, datasource, targets = [] } of panels.filter(({ type }) => type !== 'row')) {
      expect(targets.length, title).toBeGreaterThan(0);
      expect([datasource, ...targets.map((each) => each.datasource)], `${type} ${title}`).toEqual([
        source,
        ...targets.map(() => source),
      ]);
      expect(new Set(targets.map(({ refId }) => refId)).size, title).toBe(targets.length);
    }
    expect(dashboard).not.toMatch(/"__inputs"|\$\{DS_/);
  });

  it('says in each runbook the cause, what to look at, and what to do', () => {
    const sections = runbooks.split(/^### /m).filter((text) => text.startsWith('Cvm'));
    for (const section of sections)
      for (const part of ['**Cause.**', '**Look.**', '**Do.**'])
        expect(section, section.split('\n')[0]).toContain(part);
  });

  it.runIf(promtool)('has rules that promtool takes', () => {
    const said = execFileSync(promtool ?? '', ['check', 'rules', join(folder, 'rules/cvm-gateway.yml')], {
      encoding: 'utf8',
    });
    expect(said).toContain(`${alerts.length} rules found`);
  });

  it.runIf(promtool)('has a configuration that promtool takes', () => {
    const argv = ['check', 'config', '--syntax-only', join(folder, 'prometheus.yml')];
    expect(execFileSync(promtool ?? '', argv, { encoding: 'utf8' })).toContain('SUCCESS');
  });

  it.runIf(promtool)('fires and stays quiet as its tests of rules say', () => {
    const tests = readdirSync('test/unit/alerts').map((name) => join('test/unit/alerts', name));
    expect(execFileSync(promtool ?? '', ['test', 'rules', ...tests], { encoding: 'utf8' })).toContain('SUCCESS');
  });

  it.runIf(promtool)('fires each alert when its fault is there, and none at a gateway that is well', () => {
    const scratch = mkdtempSync(join(tmpdir(), 'cvm-alerts-'));
    try {
      const file = join(scratch, 'tests.yml');
      writeFileSync(file, JSON.stringify(testsOf(faults)));
      expect(Object.keys(faults).sort()).toEqual(alerts.map(({ name }) => name).sort());
      expect(execFileSync(promtool ?? '', ['test', 'rules', file], { encoding: 'utf8' })).toContain('SUCCESS');
    } finally {
      rmSync(scratch, { recursive: true, force: true });
    }
  });

  it.runIf(promtool)('has metrics whose names and texts promtool finds nothing to say about', async () => {
    const { metricsRegistry } = createMetrics();
    execFileSync(promtool ?? '', ['check', 'metrics'], { input: await metricsRegistry.metrics() });
  });
});

describe('docs/monitoring.md', () => {
  it('has the reference of metrics as the code has it; GOLDEN=write writes it', () => {
    const page = readFileSync('docs/monitoring.md', 'utf8');
    const [begin, end] = ['<!-- metrics: from telemetry/metrics.ts -->\n', '\n<!-- end of metrics -->'];
    const [before = '', rest = ''] = page.split(begin);
    const [held = '', after = ''] = rest.split(end);
    if (process.env.GOLDEN === 'write')
      writeFileSync('docs/monitoring.md', `${before}${begin}${metricsReference()}${end}${after}`);
    else expect(held).toBe(metricsReference());
  });
});

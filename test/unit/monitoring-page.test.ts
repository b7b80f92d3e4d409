import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { findCommand } from '../../runtime/system-packages.ts';
import { createMetrics } from '../../telemetry/metrics.ts';
import { metricsReference } from '../../telemetry/metrics-reference.ts';

const folder = 'deploy/monitoring';
const rules = readFileSync(join(folder, 'rules/cvm-gateway.yml'), 'utf8');
const dashboard = readFileSync(join(folder, 'grafana/dashboards/cvm-gateway.json'), 'utf8');
const runbooks = readFileSync('docs/operations.md', 'utf8');
const promtool = findCommand('promtool', process.env.PATH ?? '');

const ours = new Set(
  createMetrics()
    .metricsRegistry.getMetricsAsArray()
    .map(({ name }) => name),
);
/** What Prometheus, prom-client and BullMQ name themselves. */
const ofOthers = ['up', 'bullmq_job_count', 'process_cpu_seconds_total', 'process_resident_memory_bytes'];
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
  targets?: { expr: string }[];
  gridPos: { x: number; y: number; w: number; h: number };
};
const panels = (JSON.parse(dashboard) as { panels: Panel[] }).panels;
const alerts = [...rules.matchAll(/- alert: (\w+)\n +expr: >-\n +(.+)\n[\s\S]*?runbook_url: (\S+)/g)].map(
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

describe('deploy/monitoring', () => {
  it('names only metrics that the product, Node.js or BullMQ has', () => {
    const names = namesIn(
      [
        ...alerts.map(({ expr }) => expr),
        ...panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr)),
      ].join('\n'),
    )
      // a label
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
      alerts.map(({ name }) => `docs/operations.md#${name.toLowerCase()}`),
    );
    expect(alerts.filter(({ runbook }) => !anchors.includes(runbook.split('#')[1] ?? ''))).toEqual([]);
    const headings = [...runbooks.matchAll(/^### (Cvm\w+)$/gm)].map(([, name]) => name);
    expect(headings).toEqual(alerts.map(({ name }) => name));
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

  it.runIf(promtool)('fires and stays quiet as its tests of rules say', () => {
    const tests = readdirSync('test/unit/alerts').map((name) => join('test/unit/alerts', name));
    expect(execFileSync(promtool ?? '', ['test', 'rules', ...tests], { encoding: 'utf8' })).toContain('SUCCESS');
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

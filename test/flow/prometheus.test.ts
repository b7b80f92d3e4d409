import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, describe, expect, it } from 'vitest';
import { askOnce } from '../support/device.ts';
import { lacks } from '../support/lacks.ts';
import { freePort } from '../support/network.ts';
import { isolated, type Run, runCvm } from '../support/program.ts';

const cvm = join(import.meta.dirname, '../../dist/cli/cvm.js');
const monitoring = 'deploy/monitoring';

/** What a gateway shows in a trouble only, and after its first sweep, which comes within the first hour. */
const emptyAtFirst = /outcome!~"done\|condition_failed"|cvm_worker_sweep_end_timestamp_seconds/;

type Panel = { readonly title: string; readonly targets?: readonly { readonly expr: string }[] };
type Answer = {
  readonly status: string;
  readonly data: { readonly result: readonly { readonly metric: object; readonly value: readonly [number, string] }[] };
};

/** deploy/monitoring/prometheus.yml as its comment says for a machine without compose, and in a hurry. */
function withoutCompose(text: string, broker: number): string {
  const [, statically = ''] = /^ {4}# {3}(static_configs: .*)$/m.exec(text) ?? [];
  return text
    .replace(/^ {4}authorization:\n.*\n/m, '')
    .replace(
      /^ {4}dns_sd_configs:\n(?: {6}.*\n)+/m,
      `    ${statically.replace('127.0.0.1:9464', `127.0.0.1:${broker}`).replace('127.0.0.1:9465', '127.0.0.1:1')}\n`,
    )
    .replace(/^ {4}relabel_configs:\n(?: {6}.*\n)+/m, '')
    .replace(/_interval: 15s/g, '_interval: 1s');
}

describe.skipIf(lacks('redis-server') || lacks('prometheus'))('a gateway that Prometheus reads', () => {
  const folder = mkdtempSync(join(tmpdir(), 'cvm-prometheus-'));
  const dataDir = join(folder, 'data');
  let gateway: Run | undefined;
  let prometheus: ChildProcess | undefined;
  afterEach(async () => {
    for (const child of [prometheus, gateway?.child]) {
      if (child === undefined || child.exitCode !== null) continue;
      const ended = new Promise((resolve) => child.once('close', resolve));
      child.kill('SIGTERM');
      await ended;
    }
    rmSync(folder, { recursive: true, force: true });
  });

  async function startPrometheus(metricsPort: number) {
    cpSync(monitoring, join(folder, 'monitoring'), { recursive: true });
    const file = join(folder, 'monitoring/prometheus.yml');
    writeFileSync(file, withoutCompose(readFileSync(file, 'utf8'), metricsPort));
    const port = await freePort();
    const argv = [
      `--config.file=${file}`,
      `--web.listen-address=127.0.0.1:${port}`,
      `--storage.tsdb.path=${folder}/tsdb`,
    ];
    prometheus = spawn('prometheus', argv, { stdio: 'ignore' });
    const get = async (path: string) => (await fetch(`http://127.0.0.1:${port}${path}`)).json();
    return {
      rules: () =>
        get('/api/v1/rules') as Promise<{ data: { groups: { rules: { name: string; health: string }[] }[] } }>,
      query: (expr: string) => get(`/api/v1/query?query=${encodeURIComponent(expr)}`) as Promise<Answer>,
    };
  }

  it('fills every panel of the dashboard, loads every alert, and fires none of them while it is well', async () => {
    gateway = runCvm(['up', '--local-aws'], { ...isolated(dataDir), CVM_BROKER_METRICS_PORT: '0' });
    await gateway.says(/broker is listening/);
    await gateway.says(/metrics and health are served/);
    const lines = gateway
      .text()
      .split('\n')
      .filter((line) => line.startsWith('{'));
    const portOf = (message: string) =>
      Number(/"port":(\d+)/.exec(lines.find((line) => line.includes(message)) ?? '')?.[1]);
    const { query, rules } = await startPrometheus(portOf('metrics and health are served'));
    const up = 'sum(up{job=~".*cvm.*",part="broker"})';
    const patient = { timeout: 50_000, interval: 300 };
    await expect
      .poll(
        () =>
          query(up).then(
            ({ data }) => data.result[0]?.value[1],
            () => 'not up',
          ),
        patient,
      )
      .toBe('1');

    const broker = {
      port: portOf('broker is listening'),
      caPem: readFileSync(join(dataDir, 'tls/site-ca.crt'), 'utf8'),
    };
    const added = await promisify(execFile)(process.execPath, [cvm, 'devices', 'add', 'SN-1', '--json'], {
      env: isolated(dataDir),
    });
    const { token } = JSON.parse(added.stdout) as { token: string };
    expect(await askOnce(broker, 'SN-1', { token, key: 'ec' })).toMatchObject({ status: 'accepted' });
    // the one is refused by the broker, the other by the worker
    for (const payload of [{}, { token: 'x'.repeat(27) }])
      expect(await askOnce(broker, 'stranger', payload)).toMatchObject({ status: 'rejected' });

    const { panels } = JSON.parse(readFileSync(join(monitoring, 'grafana/dashboards/cvm-gateway.json'), 'utf8')) as {
      panels: readonly Panel[];
    };
    const exprs = panels
      .flatMap(({ title, targets = [] }) => targets.map(({ expr }) => ({ title, expr })))
      .filter(({ expr }) => !emptyAtFirst.test(expr));
    expect(exprs.length).toBeGreaterThan(25);
    const emptyOnes = async () => {
      const answers = await Promise.all(exprs.map(async (each) => ({ ...each, answer: await query(each.expr) })));
      return answers.filter(({ answer }) => answer.status !== 'success' || answer.data.result.length === 0);
    };
    await expect
      .poll(async () => (await emptyOnes()).map(({ title, expr }) => `${title}: ${expr}`), patient)
      .toEqual([]);

    const loaded = (await rules()).data.groups.flatMap((group) => group.rules);
    const written = readFileSync(join(monitoring, 'rules/cvm-gateway.yml'), 'utf8').match(/- alert:/g) ?? [];
    expect(loaded).toHaveLength(written.length);
    expect(loaded.filter(({ health }) => health !== 'ok')).toEqual([]);
    // `cvm up` has no worker by itself, which this configuration would read
    expect((await query('ALERTS{alertstate="firing",part!="worker"}')).data.result).toEqual([]);
  });
});

import { afterAll, describe, expect, it } from 'vitest';
import { composeStack, eventually, findCompose } from './compose.ts';

const compose = findCompose();
const project = `cvmmonitor${process.pid}`;
/** Prometheus as docker-compose.yml names it, or, where the engine cannot get that one, what TEST_PROMETHEUS_IMAGE names. */
const prometheusImage = process.env.TEST_PROMETHEUS_IMAGE ?? '';

describe.skipIf(compose === undefined)('the profile monitoring of the compose stack', () => {
  const stack = composeStack(compose ?? [], {
    project,
    profile: 'local-aws',
    env: {
      COMPOSE_PROFILES: 'local-aws,monitoring',
      CVM_MQTT_PORT: '28951-28952',
      CVM_CONSOLE_PORT: '28451',
      CVM_AWS_LOCAL_HTTP_PORT: '24626',
      CVM_AWS_LOCAL_MQTT_PORT: '28953',
      CVM_GRAFANA_PORT: '127.0.0.1:28954',
      CVM_PROMETHEUS_IMAGE: prometheusImage,
    },
  });
  afterAll(() => stack.down());

  it('is one that Compose takes, with Grafana at this machine alone and its password in no environment', async () => {
    const config = await stack.call('config');
    expect(config).toMatch(/GF_SECURITY_ADMIN_PASSWORD__FILE: \/grafana-password\/password/);
    expect(config).not.toMatch(/GF_SECURITY_ADMIN_PASSWORD:/);
    expect(config).toMatch(/127\.0\.0\.1/);
  });

  it('has a Prometheus that reads every broker and every worker, and has every alert', async ({ skip }) => {
    const scale = ['--scale', 'broker=2', '--scale', `${stack.worker}=2`];
    const [without = ''] = await stack
      .call('up', '-d', ...scale, 'prometheus', 'broker', stack.worker)
      .then(() => [])
      .catch((error: { stderr: string }) => [error.stderr]);
    if (/pull|manifest|not found|lookup|denied/i.test(without)) {
      console.warn(
        'SKIPPED: Prometheus in compose; the engine cannot get its image, and TEST_PROMETHEUS_IMAGE is not set',
      );
      skip();
    }
    expect(without).toBe('');
    const read = async (path: string) => {
      const script = `fetch('http://prometheus:9090/api/v1/${path}').then(async (r) => console.log(await r.text()))`;
      return JSON.parse(await stack.call('exec', '-T', 'broker', 'node', '-e', script)) as { data: unknown };
    };
    await eventually('four targets', async () => {
      const { activeTargets } = (await read('targets')).data as {
        activeTargets: { health: string; labels: { part: string } }[];
      };
      const seen = activeTargets.map(({ health, labels }) => `${labels.part} ${health}`).sort();
      expect(seen).toEqual(['broker up', 'broker up', 'worker up', 'worker up']);
    });
    await eventually('all rules evaluated', async () => {
      const { groups } = (await read('rules')).data as { groups: { rules: { name: string; health: string }[] }[] };
      const rules = groups.flatMap((group) => group.rules);
      expect(rules.length).toBeGreaterThan(15);
      expect(rules.filter(({ health }) => health !== 'ok')).toEqual([]);
    });
  });
});

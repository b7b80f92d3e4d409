import { describe, expect, it } from 'vitest';
import { withCallMetrics } from '../../aws/call-metrics.ts';
import { UpstreamRefused, UpstreamThrottled, UpstreamUnreachable } from '../../runtime/upstream.ts';
import { createMetrics } from '../../telemetry/metrics.ts';
import { metricOf } from '../support/metrics.ts';

describe('the metrics of the product', () => {
  it('have names that say whose they are and in which unit, and a help text', async () => {
    const all = createMetrics().metricsRegistry.getMetricsAsArray();
    expect(all.length).toBeGreaterThan(10);
    for (const { name, help, type } of all) {
      expect(name).toMatch(/^cvm_(broker|worker|aws|build|health)_[a-z_]+$/);
      expect(help).toMatch(/^[A-Z].*\.$/);
      // https://prometheus.io/docs/practices/naming/
      expect(name.endsWith('_total')).toBe(String(type) === 'counter');
      if (String(type) === 'histogram') expect(name).toMatch(/_(seconds|ratio)$/);
    }
  });

  it('have no label that could hold a serial, a token or another id', () => {
    const labels = createMetrics()
      .metricsRegistry.getMetricsAsArray()
      .flatMap((metric) => (metric as { labelNames?: string[] }).labelNames ?? []);
    expect([...new Set(labels)].sort()).toEqual([
      'certificate',
      'check',
      'error_code',
      'kind',
      'node_version',
      'operation',
      'outcome',
      'part',
      'revision',
      'status',
      'version',
      'waiter',
    ]);
  });

  it('count by label, and read what a part keeps anyway', async () => {
    const { metrics, metricsRegistry } = createMetrics();
    metrics.messagesReceived.inc({ kind: 'request' });
    metrics.messagesReceived.inc({ kind: 'request' });
    metrics.messagesReceived.inc({ kind: 'acknowledgement' });
    metrics.handshakesFailed.inc();
    let open = 3;
    metrics.connectionsOpen.readFrom(() => open);
    metrics.connections.readFrom(() => 10 * open);
    expect(await metricOf(metricsRegistry, 'cvm_broker_messages_received_total', { kind: 'request' })).toBe(2);
    expect(await metricOf(metricsRegistry, 'cvm_broker_messages_received_total')).toBe(3);
    expect(await metricOf(metricsRegistry, 'cvm_broker_handshakes_failed_total')).toBe(1);
    expect(await metricOf(metricsRegistry, 'cvm_broker_connections_open')).toBe(3);
    open = 1;
    expect(await metricOf(metricsRegistry, 'cvm_broker_connections_open')).toBe(1);
    expect(await metricOf(metricsRegistry, 'cvm_broker_connections_total')).toBe(10);
  });

  it('are separate for each part of a test or a process', async () => {
    const [one, other] = [createMetrics(), createMetrics()];
    one.metrics.handshakesFailed.inc();
    expect(await metricOf(other.metricsRegistry, 'cvm_broker_handshakes_failed_total')).toBe(0);
  });

  it('are the text that Prometheus reads', async () => {
    const { metrics, metricsRegistry } = createMetrics();
    metrics.requestSeconds.observe(0.3, { outcome: 'vended' });
    expect(await metricsRegistry.metrics()).toContain('cvm_worker_request_seconds_bucket{le="0.5",outcome="vended"} 1');
  });
});

describe('the gate to AWS, with metrics', () => {
  it.each([
    ['done', undefined],
    ['condition_failed', Object.assign(new Error('no'), { name: 'ConditionalCheckFailedException' })],
    ['throttled', new UpstreamThrottled('x')],
    ['unreachable', new UpstreamUnreachable('x', new Error('no'))],
    ['refused', new UpstreamRefused('x', new Error('no'), 'cure')],
    ['failed', new Error('no')],
  ])('reports a call that is %s, by operation, and how long it took', async (outcome, error) => {
    const { metrics, metricsRegistry } = createMetrics();
    let now = 1000;
    const gate = withCallMetrics({ call: (_operation, send) => send() }, metrics, () => now);
    const called = gate.call('iot:CreateThing', async () => {
      now += 250;
      if (error !== undefined) throw error;
      return 'result';
    });
    if (error === undefined) expect(await called).toBe('result');
    else await expect(called).rejects.toBe(error);
    const text = await metricsRegistry.metrics();
    expect(text).toContain(`cvm_aws_call_seconds_sum{operation="iot:CreateThing",outcome="${outcome}"} 0.25`);
    expect(text).toContain(`cvm_aws_call_seconds_count{operation="iot:CreateThing",outcome="${outcome}"} 1`);
  });
});

import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { connect } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { createMonitoring, type Monitoring } from '../../app/monitoring.ts';
import type { HealthReport } from '../../runtime/health-files.ts';
import { createLog } from '../../runtime/log.ts';
import { keepCounts, metricsContentType } from '../../runtime/metrics.ts';
import { type MonitoringOptions, startMonitoringServer } from '../../runtime/monitoring-server.ts';
import { createMetrics } from '../../telemetry/metrics.ts';

const log = createLog('silent');
const well: HealthReport = { part: 'worker', site: 'plant-7', checks: [{ name: 'redis', trouble: undefined }] };
const ill: HealthReport = {
  part: 'broker',
  site: undefined,
  checks: [
    { name: 'redis', trouble: undefined },
    { name: 'workers', trouble: 'requests wait, and no worker takes them; start a worker (cvm worker)' },
  ],
};

describe('the monitoring port', () => {
  const servers: { close(): Promise<void> }[] = [];
  afterEach(async () => {
    for (const server of servers.splice(0)) await server.close();
  });
  async function open(options: Partial<MonitoringOptions> = {}) {
    const server = await startMonitoringServer({
      listen: '127.0.0.1',
      port: 0,
      token: undefined,
      metrics: async () => 'cvm_x 1\n',
      metricsType: metricsContentType,
      health: () => [well],
      log,
      ...options,
    });
    servers.push(server);
    return async (path: string, init: RequestInit = {}) => {
      const response = await fetch(`http://127.0.0.1:${server.port}${path}`, init);
      return { status: response.status, headers: response.headers, text: await response.text() };
    };
  }
  const withToken = (token: string) => ({ headers: { authorization: `Bearer ${token}` } });

  it('serves the metrics in the format of Prometheus', async () => {
    const get = await open();
    const { status, headers, text } = await get('/metrics');
    expect([status, text]).toEqual([200, 'cvm_x 1\n']);
    expect(headers.get('content-type')).toContain('text/plain; version=0.0.4');
  });

  it('says with 200 that the process answers, whatever its parts say', async () => {
    const get = await open({ health: () => [ill] });
    const { status, text } = await get('/healthz');
    expect([status, JSON.parse(text)]).toEqual([200, { status: 'ok', parts: [{ part: 'broker' }] }]);
  });

  it('says with 200 that all parts can do their work, and with 503 which cannot, why, and what to do', async () => {
    let reports: HealthReport[] = [well];
    const get = await open({ health: () => reports });
    const good = await get('/readyz');
    expect([good.status, JSON.parse(good.text)]).toEqual([
      200,
      {
        status: 'ready',
        troubles: [],
        parts: [{ part: 'worker', site: 'plant-7' }],
        checks: [{ part: 'worker', check: 'redis', ok: true }],
      },
    ]);
    reports = [well, ill];
    const bad = await get('/readyz');
    expect([bad.status, JSON.parse(bad.text)]).toMatchObject([
      503,
      {
        status: 'not ready',
        troubles: [
          {
            part: 'broker',
            check: 'workers',
            cause: 'requests wait, and no worker takes them',
            cure: 'start a worker (cvm worker)',
          },
        ],
      },
    ]);
  });

  it('is not ready before the first look at the parts, and says that it starts', async () => {
    for (const health of [[], [{ ...well, checks: [] }]]) {
      const { status, text } = await (await open({ health: () => health }))('/readyz');
      expect([status, JSON.parse(text).status]).toEqual([503, 'starting']);
    }
  });

  it('tells nothing but one word without the token, where there is one', async () => {
    const get = await open({ token: 'correct-horse-battery', health: () => [ill] });
    for (const init of [{}, withToken('wrong'), { headers: { authorization: 'Basic correct-horse-battery' } }]) {
      const metrics = await get('/metrics', init);
      expect([metrics.status, metrics.headers.get('www-authenticate')]).toEqual([401, 'Bearer']);
      expect(metrics.text).not.toContain('cvm_x');
      const ready = await get('/readyz', init);
      expect([ready.status, JSON.parse(ready.text)]).toEqual([503, { status: 'not ready' }]);
      expect(JSON.parse((await get('/healthz', init)).text)).toEqual({ status: 'ok' });
    }
    expect((await get('/metrics', withToken('correct-horse-battery'))).status).toBe(200);
    expect(JSON.parse((await get('/readyz', withToken('correct-horse-battery'))).text).troubles).toHaveLength(1);
  });

  it('takes GET and HEAD, and knows three paths', async () => {
    const get = await open();
    expect((await get('/metrics', { method: 'POST', body: 'x' })).status).toBe(405);
    expect((await get('/../etc/passwd')).status).toBe(404);
    const head = await get('/metrics', { method: 'HEAD' });
    expect([head.status, head.text, head.headers.get('content-length')]).toEqual([200, '', '8']);
  });

  it('takes 32 connections at a time, and closes one that does not end the head of its request', async () => {
    const options = {
      listen: '127.0.0.1',
      port: 0,
      token: undefined,
      metrics: async () => '',
      health: () => [well],
      log,
    };
    const dial = async (headMs: number) => {
      const server = await startMonitoringServer({ ...options, metricsType: metricsContentType, headMs });
      servers.push(server);
      const seen = { port: server.port, connected: 0, closed: 0 };
      const sockets = Array.from({ length: 40 }, () =>
        connect(server.port, '127.0.0.1', () => void seen.connected++)
          .on('error', () => {})
          .on('close', () => void seen.closed++)
          .resume(),
      );
      await expect.poll(() => seen.connected).toBe(40);
      return { seen, sockets };
    };
    const patient = await dial(3_600_000);
    await expect.poll(() => patient.seen.closed).toBe(8);
    for (const socket of patient.sockets) socket.destroy();

    const { seen, sockets } = await dial(300);
    for (const socket of sockets) socket.write('GET /healthz HTT');
    await expect.poll(() => seen.closed).toBe(40);
    expect((await fetch(`http://127.0.0.1:${seen.port}/healthz`)).status).toBe(200);
  });

  it('reads once for all that ask at the same time', async () => {
    let reads = 0;
    let end: (text: string) => void = () => {};
    const get = await open({
      metrics: () => {
        reads++;
        return new Promise((resolve) => {
          end = resolve;
        });
      },
    });
    let arrived = 0;
    const onRequest = () => void arrived++;
    subscribe('http.server.request.start', onRequest);
    const asked = Array.from({ length: 10 }, () => get('/metrics'));
    await expect.poll(() => arrived).toBe(10);
    unsubscribe('http.server.request.start', onRequest);
    await expect.poll(() => reads).toBe(1);
    end('once\n');
    expect((await Promise.all(asked)).map(({ text }) => text)).toEqual(Array(10).fill('once\n'));
    expect(reads).toBe(1);
  });

  it('answers 500 when the metrics cannot be read, and says no detail', async () => {
    const get = await open({ metrics: () => Promise.reject(new Error('secret detail')) });
    const { status, text } = await get('/metrics');
    expect(status).toBe(500);
    expect(text).not.toContain('secret');
  });
});

describe('what is served', () => {
  function open() {
    const { metrics, metricsRegistry } = createMetrics();
    return { metrics, metricsRegistry, monitoring: createMonitoring(metrics, metricsRegistry, log) };
  }
  const valueIn = (text: string, series: string) =>
    text
      .split('\n')
      .find((line) => line.startsWith(`${series} `))
      ?.slice(series.length + 1);

  it('is added up over the processes of a broker; what cannot be added up is the highest, the lowest or the same', async () => {
    const [one, other, first] = [open(), open(), open()];
    for (const [{ metrics }, n] of [
      [one, 2],
      [other, 3],
    ] as const) {
      metrics.connectionsOpen.readFrom(() => n);
      metrics.eventLoopDelay.readFrom(() => n);
      metrics.certificateEnd.readFrom(() => [[{ certificate: 'server' }, n]]);
      for (let times = 0; times < n; times++) metrics.messagesReceived.inc({ kind: 'request' });
      metrics.estimateError.observe(n / 10, {});
    }
    const snapshots = async (...of: { monitoring: Monitoring }[]) =>
      // as they come through the channel between processes
      JSON.parse(JSON.stringify(await Promise.all(of.map(({ monitoring }) => monitoring.snapshot()))));
    first.monitoring.addProcesses(() => snapshots(one, other));
    const text = await first.monitoring.text();
    expect(valueIn(text, 'cvm_broker_connections_open')).toBe('5');
    expect(valueIn(text, 'cvm_broker_event_loop_delay_seconds')).toBe('3');
    expect(valueIn(text, 'cvm_broker_certificate_expiry_timestamp_seconds{certificate="server"}')).toBe('2');
    expect(valueIn(text, 'cvm_broker_messages_received_total{kind="request"}')).toBe('5');
    expect(valueIn(text, 'cvm_broker_estimate_error_ratio_count')).toBe('2');
    expect(text).toMatch(/^cvm_build_info\{version="\d[^"]*",revision="[^"]*",node_version="\d[^"]*"\} 1$/m);
  });

  it('never falls in what is counted, when a process ends, is silent or is started again; what is open ends with its process', async () => {
    const process = (received: number) => {
      const opened = open();
      opened.metrics.connectionsOpen.readFrom(() => 1);
      for (let times = 0; times < received; times++) opened.metrics.messagesReceived.inc({ kind: 'request' });
      opened.metrics.estimateError.observe(0.1, {});
      return opened;
    };
    const [steady, dying, successor] = [process(2), process(5), process(1)];
    const counts = keepCounts<object>();
    const first = open();
    let told: readonly (readonly [ReturnType<typeof process>, 'answers' | 'is silent'])[] = [];
    first.monitoring.addProcesses(async () => {
      const answers = told.map(async ([each, how]) => {
        const snapshot = how === 'answers' ? await each.monitoring.snapshot() : undefined;
        return [each, snapshot === undefined ? undefined : JSON.parse(JSON.stringify(snapshot))] as const;
      });
      return counts.complete(new Map(await Promise.all(answers)));
    });
    const seen = async (...now: typeof told) => {
      told = now;
      const text = await first.monitoring.text();
      return [
        valueIn(text, 'cvm_broker_messages_received_total{kind="request"}'),
        valueIn(text, 'cvm_broker_estimate_error_ratio_count'),
        valueIn(text, 'cvm_broker_connections_open'),
      ];
    };
    expect(await seen([steady, 'answers'], [dying, 'answers'])).toEqual(['7', '2', '2']);
    expect(await seen([steady, 'answers'], [dying, 'is silent'])).toEqual(['7', '2', '1']);
    expect(await seen([steady, 'answers'])).toEqual(['7', '2', '1']);
    expect(await seen([steady, 'answers'], [successor, 'is silent'])).toEqual(['7', '2', '1']);
    expect(await seen([steady, 'answers'], [successor, 'answers'])).toEqual(['8', '3', '2']);
    expect(await seen([successor, 'answers'])).toEqual(['8', '3', '1']);
  });

  it('has each health check as a number, and Node.js process metrics, but no sampling of the event loop', async () => {
    const { monitoring } = open();
    monitoring.addHealth(() => ({ ...ill, part: 'broker-2' }));
    const text = await monitoring.text();
    expect(valueIn(text, 'cvm_health_check_ok{part="broker",check="redis"}')).toBe('1');
    expect(valueIn(text, 'cvm_health_check_ok{part="broker",check="workers"}')).toBe('0');
    expect(text).toContain('process_cpu_seconds_total');
    expect(text).not.toContain('nodejs_eventloop_lag_p99_seconds');
  });

  it('says nothing of what no part of this process knows', async () => {
    const text = await open().monitoring.text();
    expect(text).not.toMatch(/^cvm_broker_connections_open /m);
    expect(text).not.toMatch(/^cvm_worker_line_length /m);
  });

  it('leaves out a text that cannot be read, such as the queue while Redis is away', async () => {
    const { monitoring } = open();
    monitoring.addText(() => Promise.reject(new Error('Redis is away')));
    monitoring.addText(async () => 'bullmq_job_count{queue="asks", state="active"} 0\n');
    const text = await monitoring.text();
    expect(text).toContain('cvm_build_info');
    expect(text).toMatch(/\nbullmq_job_count/);
  });
});

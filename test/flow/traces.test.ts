import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { askOnce } from '../support/device.ts';
import { lacks } from '../support/lacks.ts';
import { enrolDevices, isolated, programRuns, type Run, silentServer } from '../support/program.ts';

const long = { timeout: 45_000 };

type Span = {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  name: string;
  attributes: { key: string; value: { stringValue?: string } }[];
  service: string | undefined;
};
type Sent = {
  resourceSpans: {
    resource: { attributes: Span['attributes'] };
    scopeSpans: { spans: Omit<Span, 'service'>[] }[];
  }[];
};

/** Takes spans by OTLP over HTTP, in JSON. */
async function startCollector() {
  const spans: Span[] = [];
  const bodies: string[] = [];
  const headers: (string | undefined)[] = [];
  const server: Server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk) => {
      body += chunk;
    });
    request.on('end', () => {
      bodies.push(body);
      headers.push(request.headers.authorization);
      for (const { resource, scopeSpans } of (JSON.parse(body) as Sent).resourceSpans) {
        const service = resource.attributes.find(({ key }) => key === 'service.name')?.value.stringValue;
        for (const scope of scopeSpans) spans.push(...scope.spans.map((span) => ({ ...span, service })));
      }
      response.writeHead(200, { 'content-type': 'application/json' }).end('{}');
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans,
    headers,
    text: () => bodies.join('\n'),
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

describe.skipIf(lacks('redis-server'))('traces', () => {
  let dataDir: string;
  let collector: Awaited<ReturnType<typeof startCollector>>;
  const runs = programRuns();
  beforeEach(async () => {
    dataDir = mkdtempSync(join(tmpdir(), 'cvm-traces-'));
    collector = await startCollector();
  });
  afterEach(async () => {
    await runs.end();
    collector.close();
    rmSync(dataDir, { recursive: true, force: true });
  });
  const start = (env: Record<string, string>, ...more: string[]) =>
    runs.start(['up', '--local-aws', ...more], { ...isolated(dataDir), ...env });
  async function provision(run: Run, serial: string) {
    await run.says(/(broker is|processes are) listening".*\n/);
    const line =
      run
        .text()
        .split('\n')
        .findLast((each) => / listening"/.test(each) && each.includes('"port"')) ?? '';
    const broker = {
      port: JSON.parse(line).port as number,
      caPem: readFileSync(join(dataDir, 'tls', 'site-ca.crt'), 'utf8'),
    };
    const token = (await enrolDevices([serial], isolated(dataDir)))(serial);
    const reply = await askOnce(broker, serial, { token, key: 'ec' });
    expect(reply).toMatchObject({ status: 'accepted' });
    return { token, reply };
  }

  it('lead from the packet of a device through the queue to the worker and each call of AWS, across processes, without a secret', async () => {
    const run = start(
      {
        CVM_TRACES: '1',
        LOG_LEVEL: 'debug',
        OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
        OTEL_EXPORTER_OTLP_HEADERS: 'authorization=Bearer%20collector-secret',
        OTEL_BSP_SCHEDULE_DELAY: '100',
        OTEL_RESOURCE_ATTRIBUTES: 'site=plant-7',
      },
      '--processes',
      '2',
    );
    await run.says(/all broker processes are listening/);
    const { token, reply } = await provision(run, 'SN-1');
    const named = (name: string) => collector.spans.filter((span) => span.name === name);
    await expect.poll(() => named('aws iot:UpdateCertificate').length, long).toBe(1);
    // each process sends its own spans
    for (const name of ['process asks', 'add asks.ask', 'mqtt receive request'])
      await expect.poll(() => named(name).length, long).toBeGreaterThan(0);

    const [packet] = named('mqtt receive request');
    const inTrace = collector.spans.filter(({ traceId }) => traceId === packet?.traceId);
    const parentOf = (span: Span | undefined) => inTrace.find(({ spanId }) => spanId === span?.parentSpanId);
    /** from a span up to its root, by name */
    const way = (span: Span | undefined): string[] => (span === undefined ? [] : [span.name, ...way(parentOf(span))]);
    expect(packet?.parentSpanId ?? '').toBe('');
    const calls = inTrace.filter(({ name }) => name.startsWith('aws '));
    for (const call of calls)
      expect(way(call)).toEqual([call.name, 'process asks', 'add asks.ask', 'mqtt receive request']);
    // others may be among them, which a worker makes once: the endpoint, the time of AWS
    const vending = [
      'CreateThing',
      'CreateCertificateFromCsr',
      'AttachPolicy',
      'AttachThingPrincipal',
      'UpdateCertificate',
    ];
    expect(calls.map(({ name }) => name)).toEqual(
      expect.arrayContaining([...vending.map((operation) => `aws iot:${operation}`), 'aws dynamodb:UpdateItem']),
    );
    const attributes = Object.fromEntries(packet?.attributes.map(({ key, value }) => [key, value.stringValue]) ?? []);
    expect(attributes).toMatchObject({ 'cvm.serial': 'SN-1', 'cvm.outcome': 'stored' });
    expect([packet?.service, calls[0]?.service]).toEqual(['cvm-broker', 'cvm-gateway']);
    // what the gateway does by itself begins no trace
    const roots = collector.spans.filter(({ parentSpanId = '' }) => parentSpanId === '');
    expect(new Set(roots.map(({ name }) => name.replace(/receive \w+$/, 'receive')))).toEqual(
      new Set(['mqtt receive']),
    );
    expect(new Set(collector.headers)).toEqual(new Set(['Bearer collector-secret']));
    expect(collector.text()).toContain('plant-7');
    const keyLine = reply.privateKey?.split('\n')[1] ?? 'no key';
    for (const secret of [token, keyLine, 'BEGIN CERTIFICATE', 'collector-secret'])
      expect(collector.text()).not.toContain(secret);
    expect(run.text()).not.toContain('collector-secret');
  });

  it('that no collector takes are lost, and the gateway works as without them', async () => {
    const run = start({
      CVM_TRACES: '1',
      OTEL_EXPORTER_OTLP_ENDPOINT: 'http://127.0.0.1:1',
      OTEL_BSP_SCHEDULE_DELAY: '100',
    });
    await provision(run, 'SN-1');
    run.child.kill('SIGTERM');
    expect(await run.ended).toMatchObject({ status: 0 });
  });

  it('keep no gateway from ending when a collector takes the connection and never answers', async () => {
    const silent = await silentServer();
    const run = start({
      CVM_TRACES: '1',
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${silent.port}`,
      OTEL_BSP_SCHEDULE_DELAY: '100',
      // an hour, in which an export under way holds its socket
      OTEL_EXPORTER_OTLP_TIMEOUT: '3600000',
    });
    await provision(run, 'SN-1');
    run.child.kill('SIGTERM');
    expect(await run.ended).toMatchObject({ status: 0 });
    expect(run.text()).toContain('the last traces could not be sent');
    await silent.close();
  });

  it('are off, and nothing of them is loaded, unless a setting asks for them', async () => {
    const coverage = join(dataDir, 'coverage');
    const run = start({ NODE_V8_COVERAGE: coverage, OTEL_EXPORTER_OTLP_ENDPOINT: collector.url });
    await provision(run, 'SN-1');
    run.child.kill('SIGTERM');
    await run.ended;
    const loaded = readdirSync(coverage)
      .map((name) => readFileSync(join(coverage, name), 'utf8'))
      .join();
    expect(loaded).toContain('/node_modules/bullmq/');
    // prom-client brings the API, which does nothing by itself
    expect(loaded).not.toMatch(/\/node_modules\/(@opentelemetry\/(?!api\/)|bullmq-otel\/)/);
    expect(collector.spans).toEqual([]);
  });
});

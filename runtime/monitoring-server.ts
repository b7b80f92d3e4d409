import { createHash, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { within } from './deadline.ts';
import type { HealthReport } from './health-files.ts';
import type { Log } from './log.ts';
import { type Trouble, troubleOf } from './trouble-text.ts';

/** Bounds: connections at a time, bytes of a request's head; milliseconds for a head, and for an answer. */
const [maxConnections, maxHeaderSize, usualHeadMs, answerMs] = [32, 8192, 5000, 8000];

export type MonitoringOptions = {
  readonly listen: string;
  readonly port: number;
  /** what a client must send as `authorization: Bearer`; undefined where only this machine reaches the port */
  readonly token: string | undefined;
  /** the text that Prometheus reads; called for each scrape, and not twice at a time */
  readonly metrics: () => Promise<string>;
  readonly metricsType: string;
  /** of each part of this process */
  readonly health: () => readonly HealthReport[];
  readonly log: Log;
  /** milliseconds that a client has to send the head of its request; a slow one must not hold a place for long */
  readonly headMs?: number;
};

type Answer = { readonly status: number; readonly type: string; readonly body: string };

/**
 * Serves `/metrics`, `/healthz` (the process answers) and `/readyz` (its parts can do their work). A reader without the token gets
 * health as one word: an orchestrator has no token. Readings are computed only when they are asked for.
 * @throws when the port cannot be taken
 */
export async function startMonitoringServer(options: MonitoringOptions) {
  const { listen, port, token, log, headMs = usualHeadMs } = options;
  const isAllowed = tokenCheck(token);
  const readMetrics = oneAtATime(options.metrics);

  async function answer(request: IncomingMessage): Promise<Answer> {
    const path = (request.url ?? '').split('?', 1)[0] ?? '';
    const mayRead = isAllowed(request.headers.authorization);
    if (request.method !== 'GET' && request.method !== 'HEAD') return text(405, 'only GET and HEAD are offered\n');
    if (path === '/healthz')
      return json(200, { status: 'ok', ...(mayRead ? { parts: partsOf(options.health()) } : {}) });
    if (path === '/readyz') return readiness(options.health(), mayRead);
    if (path !== '/metrics') return text(404, 'there are /metrics, /healthz and /readyz\n');
    if (!mayRead) return text(401, 'send the token of CVM_METRICS_TOKEN_FILE as "authorization: Bearer TOKEN"\n');
    return {
      status: 200,
      type: options.metricsType,
      body: await within(answerMs, 'reading the metrics', readMetrics()),
    };
  }

  function respond(request: IncomingMessage, response: ServerResponse): void {
    // the body of a request is not used: read it to its end, and drop it
    request.resume();
    answer(request)
      .catch((err: unknown) => {
        log.warn({ err }, 'a request for metrics or health could not be answered');
        return text(500, 'this could not be read; the log says why\n');
      })
      .then((it) => send(request, response, it))
      .catch((err: unknown) => log.debug({ err }, 'an answer of the monitoring port could not be sent'));
  }

  // Node.js looks for late heads every 30 s unless it is told
  const bounds = { headersTimeout: headMs, requestTimeout: headMs, connectionsCheckingInterval: headMs };
  const server = createServer({ maxHeaderSize, ...bounds }, respond);
  server.maxConnections = maxConnections;
  server.keepAliveTimeout = 30_000;
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, listen, () => resolve(void server.off('error', reject)));
  });
  server.on('error', (err) => log.debug({ err }, 'monitoring port'));
  // it keeps no process up that has closed all else
  server.unref();
  return {
    name: 'monitoring port',
    port: (server.address() as AddressInfo).port,
    async close() {
      const closed = new Promise<void>((resolve) => server.close(() => resolve()));
      server.closeAllConnections();
      await closed;
    },
  };
}

function send(request: IncomingMessage, response: ServerResponse, { status, type, body }: Answer): void {
  response.writeHead(status, {
    'content-type': type,
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    'x-content-type-options': 'nosniff',
    ...(status === 401 ? { 'www-authenticate': 'Bearer' } : {}),
    ...(status === 405 ? { allow: 'GET, HEAD' } : {}),
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}

const text = (status: number, body: string): Answer => ({ status, type: 'text/plain; charset=utf-8', body });
const json = (status: number, value: object): Answer => ({
  status,
  type: 'application/json',
  body: `${JSON.stringify(value, null, 2)}\n`,
});

const partsOf = (reports: readonly HealthReport[]) =>
  reports.map(({ part, site }) => ({ part, ...(site === undefined ? {} : { site }) }));

const starting: Trouble & { check: string } = {
  check: 'start',
  cause: 'the first checks have not ended yet',
  cure: 'wait a second; where this stays, the log says what the start waits for',
};

/** 200 when every check of every part is well, 503 otherwise. */
function readiness(reports: readonly HealthReport[], mayRead: boolean): Answer {
  const all = reports.flatMap(({ part, checks }) => checks.map((check) => ({ part, ...check })));
  const troubles = all.flatMap(({ part, name: check, trouble }) =>
    trouble === undefined ? [] : [{ part, check, ...troubleOf(trouble) }],
  );
  const isStarting = reports.length === 0 || reports.some(({ checks }) => checks.length === 0);
  const status = troubles.length > 0 ? 'not ready' : isStarting ? 'starting' : 'ready';
  if (!mayRead) return json(status === 'ready' ? 200 : 503, { status });
  const checks = all.map(({ part, name: check, trouble }) => ({ part, check, ok: trouble === undefined }));
  return json(status === 'ready' ? 200 : 503, {
    status,
    troubles: status === 'starting' ? [starting] : troubles,
    parts: partsOf(reports),
    checks,
  });
}

/** Compares digests, so that the time that it takes says nothing about the token. */
function tokenCheck(token: string | undefined): (authorization: string | undefined) => boolean {
  if (token === undefined) return () => true;
  const digest = (value: string) => createHash('sha256').update(value).digest();
  const wanted = digest(token);
  return (authorization = '') => {
    const sent = /^Bearer +(\S+)$/i.exec(authorization)?.[1];
    return sent !== undefined && timingSafeEqual(digest(sent), wanted);
  };
}

/** Calls that come while one is under way get its result: many readers cost no more than one. */
function oneAtATime<T>(read: () => Promise<T>): () => Promise<T> {
  let running: Promise<T> | undefined;
  return () => {
    running ??= read().finally(() => {
      running = undefined;
    });
    return running;
  };
}

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { contentSecurityPolicy, readWebFiles } from '../../console/web-files.ts';
import { createFakeFleet, type FakeFleet, today } from './fake-fleet.ts';

export const password = 'plum-otter-lamp-quay';
export const viewerPassword = 'fern-tide-oak-reel';

/** The console's API as the pages know it, over devices in memory. */
export type FakeGateway = {
  readonly url: string;
  readonly fleet: FakeFleet;
  /** other devices, as at the start; ends what is open */
  renew(): void;
  /** sends an event to every page that is open */
  emit(type: 'now' | 'device' | 'line' | 'resync', data: unknown): void;
  /** ends every event stream, as a gateway does that starts anew */
  breakStreams(): void;
  /**
   * `away`: every connection is cut. `unready`: the API answers 503, as while Redis is away. `mute`: the API does what it is asked, and its answer is
   * lost. Until the next `renew`.
   */
  outage: 'none' | 'away' | 'unready' | 'mute';
  /** the bodies of POST and DELETE, with the path */
  readonly calls: readonly { readonly path: string; readonly body: string; readonly csrf?: string | undefined }[];
  close(): Promise<void>;
};

type Answer = { readonly status?: number; readonly body?: unknown; readonly cookie?: string };
type Asked = {
  readonly method: string;
  readonly parts: readonly string[];
  readonly query: URLSearchParams;
  readonly body: string;
};

const files = readWebFiles();

export async function startFakeGateway(): Promise<FakeGateway> {
  let fleet = createFakeFleet();
  const streams = new Set<ServerResponse>();
  let outage: FakeGateway['outage'] = 'none';
  const calls: { path: string; body: string; csrf?: string | undefined }[] = [];
  const server = createServer(async (request, response) => {
    if (outage === 'away') return request.socket.destroy();
    const url = new URL(request.url ?? '/', 'http://gateway');
    response.setHeader('content-security-policy', contentSecurityPolicy);
    // the time of the made-up devices
    response.setHeader('date', new Date(today).toUTCString());
    response.setHeader('x-content-type-options', 'nosniff');
    if (!url.pathname.startsWith('/api/v1/')) return sendFile(files.get(url.pathname), request, response);
    const signedIn = request.headers.cookie?.includes('session=') === true;
    if (outage === 'unready') return response.writeHead(503).end();
    if (url.pathname === '/api/v1/events')
      return signedIn ? openStream(response, streams, fleet) : response.writeHead(401).end();
    const body = await readBody(request);
    const csrf = request.headers['x-csrf-token']?.toString();
    const method = request.method ?? 'GET';
    if (method !== 'GET') calls.push({ path: url.pathname, body, csrf });
    const parts = url.pathname.slice('/api/v1/'.length).split('/').map(decodeURIComponent);
    const answer = await answerTo(
      { method, parts, query: url.searchParams, body },
      fleet,
      signedIn,
      csrf,
      request.headers.cookie,
    );
    if (outage === 'mute') return request.socket.destroy();
    const headers = { 'content-type': 'application/json', 'cache-control': 'no-store' };
    response.writeHead(answer.status ?? 200, {
      ...headers,
      ...(answer.cookie === undefined ? {} : { 'set-cookie': answer.cookie }),
    });
    response.end(answer.body === undefined ? '' : JSON.stringify(answer.body));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const emit = (type: string, data: unknown) => {
    for (const stream of streams) stream.write(`event: ${type}\ndata: ${JSON.stringify(data)}\n\n`);
  };
  // as the real one: a page takes a long silence for a lost connection
  const speaking = setInterval(() => emit('now', fleet.now()), 5000);
  const renew = () => {
    for (const stream of streams) stream.destroy();
    calls.length = 0;
    outage = 'none';
    fleet = createFakeFleet();
    fleet.onEvent = (event) => emit('device', event);
  };
  renew();
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/`,
    get fleet() {
      return fleet;
    },
    renew,
    emit,
    calls,
    get outage() {
      return outage;
    },
    set outage(kind) {
      outage = kind;
      for (const stream of kind === 'none' ? [] : streams) stream.destroy();
    },
    breakStreams() {
      for (const stream of streams) stream.destroy();
    },
    async close() {
      clearInterval(speaking);
      for (const stream of streams) stream.destroy();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function sendFile(
  file: ReturnType<ReturnType<typeof readWebFiles>['get']>,
  request: IncomingMessage,
  response: ServerResponse,
) {
  if (file === undefined) return response.writeHead(404).end();
  const { body, gzip, contentType, etag, cacheControl } = file;
  const wantsGzip = gzip !== undefined && /\bgzip\b/.test(`${request.headers['accept-encoding'] ?? ''}`);
  response.writeHead(200, {
    'content-type': contentType,
    etag,
    'cache-control': cacheControl,
    ...(wantsGzip ? { 'content-encoding': 'gzip' } : {}),
  });
  return response.end(wantsGzip ? gzip : body);
}

function openStream(response: ServerResponse, streams: Set<ServerResponse>, fleet: FakeFleet) {
  response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' });
  response.write(`event: now\ndata: ${JSON.stringify(fleet.now())}\n\n`);
  streams.add(response);
  response.on('close', () => streams.delete(response));
}

async function readBody(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

const refuse = (status: number, code: string, message: string, cure: string): Answer => ({
  status,
  body: { error: { code, message, cure } },
});

async function answerTo(
  asked: Asked,
  fleet: FakeFleet,
  signedIn: boolean,
  csrf: string | undefined,
  cookie = '',
): Promise<Answer> {
  const { method, parts, body } = asked;
  const known = { csrf: 'csrf-1', site: 'north plant', version: '0.2.0' };
  const viewer = { person: 'viewer', role: 'viewer', ...known };
  const me = cookie.includes('session=v1') ? viewer : { person: 'operator', role: 'operator', ...known };
  if (parts[0] === 'session') {
    if (method === 'DELETE') return { cookie: 'session=; Max-Age=0; Path=/' };
    if (method === 'GET')
      return signedIn ? { body: me } : refuse(401, 'NotSignedIn', 'You are not signed in.', 'Sign in.');
    const typed = (JSON.parse(body) as { password: string }).password;
    if (typed === password) return { body: me, cookie: 'session=s1; HttpOnly; SameSite=Strict; Path=/' };
    if (typed === viewerPassword) return { body: viewer, cookie: 'session=v1; HttpOnly; SameSite=Strict; Path=/' };
    return refuse(
      401,
      'WrongPassword',
      'The password is wrong.',
      'Type it as the gateway showed it, or run cvm console password --reset on the gateway for another.',
    );
  }
  if (!signedIn) return refuse(401, 'NotSignedIn', 'You are not signed in.', 'Sign in.');
  if (method !== 'GET' && csrf !== me.csrf)
    return refuse(403, 'CsrfTokenMissing', 'The CSRF token is missing.', 'Load the page again.');
  return fleet.answer(asked) ?? refuse(404, 'NotFound', 'There is no such page.', 'Look at /api/v1/openapi.json.');
}

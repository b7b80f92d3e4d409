import type { SecureVersion } from 'node:tls';
import helmet from '@fastify/helmet';
import swagger from '@fastify/swagger';
import Fastify, {
  type FastifyError,
  type FastifyInstance,
  type FastifyReply,
  type FastifyRequest,
  LogController,
} from 'fastify';
import { z } from 'zod';
import { addressList, groupOf } from '../runtime/addresses.ts';
import type { Log } from '../runtime/log.ts';
import { cureOf } from '../runtime/upstream.ts';
import { addressOf, type CallerDeps, callerOf, plainAddress, requireAccess } from './caller.ts';
import { type ConnectionLimits, limitConnections, usualConnectionLimits } from './connections.ts';
import type { ConsoleDeps, ServerTls } from './deps.ts';
import { isOwnHost } from './host-names.ts';
import { openApi, withoutZod } from './openapi.ts';
import { createPaces, type Pace, usualCost, usualPace } from './pace.ts';
import { servePages } from './pages.ts';
import { bodyOf, noSuchThing, Problem } from './problem.ts';

/**
 * Bounds. Milliseconds: a client that sends its headers or its body more slowly, or that does nothing between two calls, is disconnected
 * (RFC 9110 has 408 for it). Bytes: of a body; `routes` allow more where a file is sent.
 */
export const limits = {
  handshakeMs: 10_000,
  headersMs: 10_000,
  requestMs: 30_000,
  keepAliveMs: 65_000,
  idleMs: 120_000,
  headerBytes: 16 * 1024,
  bodyBytes: 256 * 1024,
  /** characters between two slashes of a path; a serial has 128 */
  pathPart: 256,
};

/** @see https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/Content-Security-Policy */
const contentSecurityPolicy = {
  useDefaults: false,
  directives: {
    defaultSrc: ["'none'"],
    scriptSrc: ["'self'"],
    styleSrc: ["'self'"],
    imgSrc: ["'self'"],
    connectSrc: ["'self'"],
    fontSrc: ["'self'"],
    manifestSrc: ["'self'"],
    baseUri: ["'none'"],
    formAction: ["'none'"],
    frameAncestors: ["'none'"],
    requireTrustedTypesFor: ["'script'"],
    trustedTypes: ["'none'"],
  },
};

export type ConsoleServer = {
  readonly app: FastifyInstance;
  /** From the next connection on. */
  useTls(tls: ServerTls): void;
};

/** The HTTP server with all that guards it; the routes are added to it. The order of the hooks is the order of the checks. */
export async function createServer(
  { settings, tls, pages, log, version }: Pick<ConsoleDeps, 'settings' | 'tls' | 'pages' | 'log' | 'version'>,
  {
    callers,
    names,
    connectionLimits = usualConnectionLimits,
    pace = usualPace,
  }: {
    readonly callers: CallerDeps;
    names(): readonly string[];
    readonly connectionLimits?: ConnectionLimits | undefined;
    readonly pace?: Pace | undefined;
  },
  addRoutes: (app: FastifyInstance) => void,
): Promise<ConsoleServer> {
  const server = Fastify({
    https: {
      ...secureContext(tls),
      handshakeTimeout: limits.handshakeMs,
      headersTimeout: limits.headersMs,
      maxHeaderSize: limits.headerBytes,
    },
    bodyLimit: limits.bodyBytes,
    connectionTimeout: limits.idleMs,
    keepAliveTimeout: limits.keepAliveMs,
    requestTimeout: limits.requestMs,
    forceCloseConnections: true,
    // the address of a person behind the proxy, for the trail; of all others, that of the connection
    trustProxy: settings.console.trusted === undefined ? false : isProxy(settings.console.trusted.from),
    exposeHeadRoutes: true,
    routerOptions: { maxParamLength: limits.pathPart },
    logController: new LogController({ disableRequestLogging: true }),
    loggerInstance: log.child({ part: 'console' }) as never,
    genReqId: () => '',
    // no hook would run for a path that the router itself refuses, and its answer would lack the headers
    rewriteUrl: ({ url = '/' }) => (isReadable(pathOfTarget(url)) ? pathOfTarget(url) : '/api/unreadable'),
  });
  const app = server as unknown as FastifyInstance;
  const proxies = settings.console.trusted?.from ?? [];
  const paces = createPaces(pace);
  const connections = limitConnections(server.server, connectionLimits, isProxy(proxies));
  // RFC 9112, 6.1: one connection per person is enough, and nothing is sent on one that failed
  server.server.maxRequestsPerSocket = 10_000;

  app.decorateRequest('caller', undefined);
  app.setValidatorCompiler(({ schema }) => validatorOf(schema as z.ZodType));
  app.setSerializerCompiler(({ schema }) => serializerOf(schema));
  app.setErrorHandler((error: FastifyError, request, reply) => sendProblem(error, request, reply, log));
  app.setNotFoundHandler((_request, reply) => sendBody(reply, noSuchThing('such page or call')));

  app.addHook('onRoute', ({ url, config }) => {
    // never open by omission
    if (config?.access === undefined) throw new Error(`${url} does not say who may call it`);
  });
  await app.register(helmet, {
    global: true,
    contentSecurityPolicy,
    crossOriginEmbedderPolicy: true,
    // subdomains are none of our business, and other ports of this host may serve HTTP: helmet's default would include them
    strictTransportSecurity: { maxAge: 31_536_000, includeSubDomains: false },
    referrerPolicy: { policy: 'no-referrer' },
    xFrameOptions: { action: 'deny' },
  });
  app.addHook('onRequest', async (request, reply) => {
    void reply.header('permissions-policy', 'camera=(), geolocation=(), microphone=(), payment=(), usb=()');
    if (request.url.startsWith('/api/')) void reply.header('cache-control', 'no-store');
    // after the headers, which an answer that refuses has as well
    for (const host of hostsOf(request)) if (!isOwnHost(host, names())) throw unknownHost(host);
    if (isOfForeignPage(request)) throw foreignPage();
    const access = request.routeOptions.config.access ?? 'operator';
    if (request.is404) return;
    if (access !== 'open') request.caller = await callerOf(request, callers);
    if (request.caller !== undefined) connections.keep(request.socket);
    requireAccess(access, request.caller, request, callers.sessions);
    if (request.caller !== undefined)
      await paces.spend(
        `${request.caller.person} ${groupOf(addressOf(request))}`,
        request.routeOptions.config.cost ?? usualCost,
      );
  });
  await app.register(swagger, { openapi: openApi(version, callers.sessions.cookie), transform: withoutZod as never });
  app.removeContentTypeParser('text/plain');
  servePages(app, pages);
  addRoutes(app);
  await app.ready();
  return { app, useTls: (next) => server.server.setSecureContext(secureContext(next)) };
}

/** Any current browser has one of them. TLS 1.3 has no others; in TLS 1.2, without CBC and with forward secrecy (RFC 9325, 4.2). */
const ciphers = [
  ...['TLS_AES_256_GCM_SHA384', 'TLS_CHACHA20_POLY1305_SHA256', 'TLS_AES_128_GCM_SHA256'],
  ...['ECDHE-ECDSA-AES128-GCM-SHA256', 'ECDHE-RSA-AES128-GCM-SHA256'],
  ...['ECDHE-ECDSA-AES256-GCM-SHA384', 'ECDHE-RSA-AES256-GCM-SHA384'],
  ...['ECDHE-ECDSA-CHACHA20-POLY1305', 'ECDHE-RSA-CHACHA20-POLY1305'],
].join(':');

const secureContext = ({ cert, key }: ServerTls) => ({ cert, key, ciphers, minVersion: 'TLSv1.2' as SecureVersion });

function isProxy(from: readonly string[]) {
  const list = addressList(from);
  return (address: string) => list.has(plainAddress(address));
}

function validatorOf(schema: z.ZodType) {
  return (data: unknown) => {
    const read = schema.safeParse(data ?? {});
    return read.success ? { value: read.data } : { error: new Error(z.prettifyError(read.error)) };
  };
}

/** Fields that the schema does not name are left out: what a call answers is what its page in the API says, and no more. */
function serializerOf(schema: unknown) {
  return schema instanceof z.ZodType
    ? (data: unknown) => JSON.stringify(schema.parse(data))
    : (data: unknown) => JSON.stringify(data);
}

/** A proxy may send a whole URL, and the origin server takes its path (absolute form, RFC 9112, 3.2.2). */
const pathOfTarget = (url: string) => url.replace(/^https?:\/\/[^/?#]*/i, '') || '/';

function isReadable(url: string): boolean {
  try {
    const parts = decodeURIComponent(url.split('?', 1)[0] ?? '').split('/');
    return parts.every((part) => part.length <= limits.pathPart);
  } catch {
    return false;
  }
}

/**
 * All names by which the request asks for this server. Node.js takes the first of two Host headers, and a proxy in front may have judged the
 * other one; that of an absolute form counts before both (RFC 9112, 3.2.2 and 3.2).
 */
function hostsOf({ raw: { rawHeaders }, originalUrl }: FastifyRequest): readonly (string | undefined)[] {
  const named = rawHeaders.filter(
    (_value, index) => index % 2 === 1 && rawHeaders[index - 1]?.toLowerCase() === 'host',
  );
  const ofTarget = /^https?:\/\/([^/?#]*)/i.exec(originalUrl)?.[1];
  return [...(named.length === 0 ? [undefined] : named), ...(ofTarget === undefined ? [] : [ofTarget])];
}

const unknownHost = (host = '') =>
  new Problem(
    421,
    'UnknownHost',
    `the console does not go by the name ${JSON.stringify(host.slice(0, 100))}`,
    'use a name of the server certificate, or add this one to CVM_HOSTNAMES and restart the console',
  );

/** Browsers say so themselves: https://www.w3.org/TR/fetch-metadata/. A link from elsewhere may open the page, and nothing more. */
function isOfForeignPage({ method, headers }: FastifyRequest): boolean {
  const site = headers['sec-fetch-site'];
  if (site === undefined || site === 'same-origin' || site === 'none') return false;
  return !(method === 'GET' && headers['sec-fetch-mode'] === 'navigate' && headers['sec-fetch-dest'] === 'document');
}

const foreignPage = () =>
  new Problem(403, 'ForeignPage', 'this call comes from a page of another site', 'open the console by its own address');

function sendProblem(error: FastifyError, request: FastifyRequest, reply: FastifyReply, log: Log): FastifyReply {
  if (error instanceof Problem) {
    if (error.retryAfter !== undefined) void reply.header('retry-after', error.retryAfter);
    if (error.status >= 500)
      log.warn({ err: error.cause ?? error, url: pathOf(request) }, 'a call of the console failed');
    return sendBody(reply, error);
  }
  return sendBody(reply, problemOf(error, request, log));
}

const pathOf = ({ routeOptions }: FastifyRequest) => routeOptions.url;

function problemOf(error: FastifyError, request: FastifyRequest, log: Log): Problem {
  const { statusCode = 500, message } = error;
  if (error.validation !== undefined || (statusCode === 400 && error.code !== undefined))
    return new Problem(
      400,
      'InvalidRequest',
      message.slice(0, 1000),
      'correct the call: /api/v1/openapi.json has its form',
    );
  if (statusCode === 413) return new Problem(413, 'PayloadTooLarge', 'the body is too large', 'send less at a time');
  if (statusCode === 415)
    return new Problem(
      415,
      'UnsupportedMediaType',
      'the body has another media type than this call takes',
      'send application/json, or text/csv for a file',
    );
  if (statusCode < 500) return new Problem(statusCode, 'InvalidRequest', message.slice(0, 1000), 'correct the call');
  const cure = cureOf(error);
  log.warn({ err: error, url: pathOf(request) }, 'a call of the console failed');
  if (cure !== undefined) return new Problem(503, 'UpstreamUnavailable', message.slice(0, 1000), cure);
  if (isOfRedis(error))
    return new Problem(
      503,
      'Unavailable',
      'Redis does not answer',
      'see cvm status: start Redis, or correct REDIS_URL',
    );
  return new Problem(500, 'InternalFailure', 'the call failed', 'the log of the console says why');
}

const isOfRedis = ({ name, message }: Error) =>
  ['ReplyError', 'MaxRetriesPerRequestError'].includes(name) ||
  /Connection is closed|Stream isn't writeable|Command timed out/.test(message);

function sendBody(reply: FastifyReply, problem: Problem): FastifyReply {
  return reply
    .code(problem.status)
    .type('application/json; charset=utf-8')
    .serializer(JSON.stringify)
    .send(bodyOf(problem));
}

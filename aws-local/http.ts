import { randomUUID } from 'node:crypto';
import { appendFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { Account } from './account.ts';
import { ApiError } from './errors.ts';
import { type Faults, throttled } from './faults.ts';
import type { Logger } from './logger.ts';
import { checkInput } from './model.ts';
import type { createQuotas } from './quotas.ts';
import { route } from './routes.ts';
import { getServiceQuota } from './service-quotas.ts';

export type HttpOptions = {
  account: Account;
  faults: Faults;
  quotas: ReturnType<typeof createQuotas>;
  dynamo: Server;
  log: Logger;
};

const maxBodyBytes = 1024 * 1024;

/** One port for all services: a call of DynamoDB or Service Quotas has a target header, an IoT call a path. */
export function createHttp({ account, faults, quotas, dynamo, log }: HttpOptions) {
  const calls = new Map<string, { calls: number; throttled: number }>();

  /** Logs each operation with its caller once, so that a test suite can tell which permissions a product needs. */
  const record = createCallLog(process.env.STAND_IN_CALL_LOG);

  function count(operation: string, what: 'calls' | 'throttled'): void {
    const counted = calls.get(operation) ?? { calls: 0, throttled: 0 };
    counted[what]++;
    calls.set(operation, counted);
  }

  async function dynamoDb(target: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const operation = `DynamoDB.${target.slice(target.indexOf('.') + 1)}`;
    count(operation, 'calls');
    record(operation, request);
    const { loseAnswer } = await faults.strike(operation);
    if (loseAnswer) losesItsAnswer(request, response);
    dynamo.emit('request', request, response);
  }

  async function iot(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', 'http://local');
    const found = route(request.method ?? '', url.pathname);
    // not ResourceNotFoundException: a caller would take the resource for gone
    if (found === undefined)
      throw new ApiError(
        'UnknownOperationException',
        `There is no operation ${request.method} ${url.pathname} here`,
        404,
      );
    count(found.name, 'calls');
    record(found.name, request);
    // reads the body first: a stalled call was received, and takes effect whether or not the caller still waits
    const body = await readJson(request);
    const { loseAnswer } = await faults.strike(found.name);
    if (!quotas.take(found.name)) throw throttled(found.name);
    const given = { ...body, ...headersOf(request), ...Object.fromEntries(url.searchParams), ...found.parameters };
    const output = await found.operation(account, checkInput(given, found.required));
    if (loseAnswer) request.socket.destroy();
    else answer(response, 200, output);
  }

  async function serviceQuotas(target: string, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const operation = `ServiceQuotas.${target.slice(target.indexOf('.') + 1)}`;
    count(operation, 'calls');
    record(operation, request);
    const body = await readJson(request);
    await faults.strike(operation);
    answer(response, 200, getServiceQuota(quotas, target, body));
  }

  async function admin(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.url === '/_local/health') return answer(response, 200, { status: 'ok', keyPairs: account.keys.made() });
    if (request.url === '/_local/stats') return answer(response, 200, Object.fromEntries(calls));
    if (request.url === '/_local/struck') return answer(response, 200, faults.struck());
    if (request.url !== '/_local/faults')
      throw new ApiError(
        'ResourceNotFoundException',
        'There is /_local/health, /_local/stats, /_local/struck and /_local/faults',
        404,
      );
    if (request.method === 'PUT') setFaults(await readJson(request));
    if (request.method === 'DELETE') faults.set([]);
    answer(response, 200, faults.get());
  }

  function setFaults(rules: unknown): void {
    try {
      faults.set(rules as unknown[]);
    } catch (error) {
      throw new ApiError('InvalidRequestException', error instanceof Error ? error.message : '');
    }
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const target = request.headers['x-amz-target'];
    try {
      if (request.url?.startsWith('/_local/')) await admin(request, response);
      else if (typeof target === 'string' && target.startsWith('DynamoDB_')) await dynamoDb(target, request, response);
      else if (typeof target === 'string' && target.startsWith('ServiceQuotas'))
        await serviceQuotas(target, request, response);
      else await iot(request, response);
    } catch (error) {
      if (!(error instanceof ApiError)) log.error({ err: error, method: request.method }, 'the stand-in failed');
      const known =
        error instanceof ApiError
          ? error
          : new ApiError('InternalFailureException', 'An unexpected error has occurred');
      if (known.name === 'ThrottlingException')
        count(
          route(request.method ?? '', new URL(request.url ?? '/', 'http://local').pathname)?.name ?? '',
          'throttled',
        );
      fail(response, known, target !== undefined);
    }
  }

  const server = createServer((request, response) => void handle(request, response));
  // an SDK reuses connections; closing one while it sends would look like a fault that was not set
  server.keepAliveTimeout = 60_000;
  return server;
}

function createCallLog(file: string | undefined): (operation: string, request: IncomingMessage) => void {
  if (file === undefined) return () => {};
  const seen = new Set<string>();
  return (operation, { headers }) => {
    const line = `${operation}\t${headers['user-agent'] ?? ''}\n`;
    if (seen.has(line)) return;
    seen.add(line);
    appendFileSync(file, line);
  };
}

/** Lets dynalite apply the call, and cuts the connection before the answer. */
function losesItsAnswer(request: IncomingMessage, response: ServerResponse): void {
  response.end = (() => {
    request.socket.destroy();
    return response;
  }) as typeof response.end;
}

function headersOf(request: IncomingMessage): { principal?: string } {
  const principal = request.headers['x-amzn-principal'];
  return typeof principal === 'string' ? { principal } : {};
}

async function readJson(request: IncomingMessage): Promise<Record<string, unknown>> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > maxBodyBytes) throw new ApiError('InvalidRequestException', 'The body is too large', 413);
    chunks.push(chunk);
  }
  if (size === 0) return {};
  try {
    return JSON.parse(Buffer.concat(chunks).toString('utf8')) as Record<string, unknown>;
  } catch {
    throw new ApiError('InvalidRequestException', 'The body is not JSON');
  }
}

function answer(response: ServerResponse, status: number, body: unknown): void {
  response
    .writeHead(status, { 'content-type': 'application/json', 'x-amzn-requestid': randomUUID() })
    .end(JSON.stringify(body));
}

/** REST-JSON has the error's name in a header, DynamoDB's JSON 1.0 in the body. */
function fail(response: ServerResponse, { name, message, status }: ApiError, dynamo: boolean): void {
  if (response.headersSent || response.destroyed) return;
  const body = dynamo ? { __type: `com.amazonaws.dynamodb.v20120810#${name}`, message } : { message };
  response
    .writeHead(status, {
      'content-type': dynamo ? 'application/x-amz-json-1.0' : 'application/json',
      'x-amzn-errortype': name,
      'x-amzn-requestid': randomUUID(),
    })
    .end(JSON.stringify(body));
}

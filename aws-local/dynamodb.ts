import { createHash, randomUUID } from 'node:crypto';
import {
  Agent,
  createServer,
  type IncomingMessage,
  request as openRequest,
  type Server,
  type ServerResponse,
} from 'node:http';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import dynalite from 'dynalite';
import db, { type Level, type Store } from 'dynalite/db/index.js';
import { ApiError } from './errors.ts';
import { createIndexes, type IndexCreation } from './index-creation.ts';
import { type UpkeepInput, upkeepOperations } from './table-upkeep.ts';
import { createTransactions, TransactionCanceled } from './transactions.ts';

/** It is handed requests, and does not listen. */
export type Dynamo = { readonly server: Server; close(): Promise<void> };

/** Dynalite, with its state below the folder, and with what it lacks: transactions, indexes for a table that is there, backups and time to live. */
export function openDynalite(dataDir: string): Dynamo {
  const { server: inner, store } = startDynalite(join(dataDir, 'dynamodb'));
  const transactions = createTransactions(store);
  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await bodyOf(request);
    const input = parsed(body);
    const [version, name = ''] = String(request.headers['x-amz-target']).split('.');
    const operation = version === 'DynamoDB_20120810' ? name : '';
    const upkeep = upkeepOperations[operation];
    if (input === undefined) answer(response, 400, { __type: 'com.amazon.coral.service#SerializationException' });
    else if (operation === 'UpdateTable') await updateTable(input as IndexCreation, response, store);
    else if (operation === 'TransactWriteItems') await answerWith(() => transactions.write(input as never), response);
    else if (upkeep !== undefined) await answerWith(() => upkeep(store, input as UpkeepInput), response);
    else inner.emit('request', received(request, body), response);
  }
  const server = createServer((request, response) => {
    // as a service that is away: the connection ends without an answer
    serve(request, response).catch(() => request.socket.destroy());
  });
  return { server, close: () => new Promise((resolve) => inner.close(() => resolve())) };
}

/** Dynalite ends its process when a client goes away before its whole request has come, so it is handed those that have come. */
function received({ headers, method, url }: IncomingMessage, body: Buffer): Readable {
  return Object.assign(Readable.from([body]), { headers, method, url });
}

/** More than dynalite takes. */
const maxBodyBytes = 17 * 1024 * 1024;

/** What lies beyond `maxBodyBytes` is left out. @throws when the client goes away before its end */
async function bodyOf(message: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of message as AsyncIterable<Buffer>) {
    if (size < maxBodyBytes) chunks.push(chunk);
    size += chunk.length;
  }
  return Buffer.concat(chunks);
}

/** @returns undefined for what is no object in JSON: dynalite ends its process at `null` */
function parsed(body: Buffer): object | undefined {
  try {
    const input: unknown = JSON.parse(body.toString('utf8'));
    return typeof input === 'object' && input !== null ? input : undefined;
  } catch {
    return undefined;
  }
}

/** With its store, which it keeps to itself. */
function startDynalite(path: string): { server: Server; store: Store } {
  const { create } = db;
  let made: Store | undefined;
  db.create = (options) => {
    made = create(options);
    return made;
  };
  try {
    const server = dynalite({ path, createTableMs: 0, deleteTableMs: 0, updateTableMs: 0 });
    if (made === undefined) throw new Error('dynalite opened no store');
    tellDiskErrors(made.db);
    return { server, store: made };
  } finally {
    db.create = create;
  }
}

/** Dynalite ends its process at an error that has no status: what the disk refuses is answered, as by a service that fails. */
function tellDiskErrors(level: Level): void {
  for (const name of ['put', 'del', 'batch'] as const) {
    const write = level[name].bind(level);
    level[name] = (...args) => {
      const [back] = args.slice(-1);
      if (typeof back !== 'function') return write(...args);
      return write(...args.slice(0, -1), (error?: Error | null) => back(error && asFailure(error)));
    };
  }
}

const asFailure = (error: Error): Error =>
  Object.assign(error, {
    statusCode: 500,
    body: { __type: 'com.amazonaws.dynamodb.v20120810#InternalServerError', message: error.message },
  });

/** The only use that the product has for it is an index, which dynalite cannot add. */
async function updateTable(input: IndexCreation, response: ServerResponse, store: Store): Promise<void> {
  await createIndexes(store, input).then(
    (TableDescription) => answer(response, 200, { TableDescription }),
    (error: Error) => {
      const body = { __type: 'com.amazonaws.dynamodb.v20120810#ResourceInUseException', message: error.message };
      answer(response, 400, body);
    },
  );
}

async function answerWith(operation: () => Promise<object>, response: ServerResponse): Promise<void> {
  try {
    answer(response, 200, await operation());
  } catch (error) {
    const { name, message, status } =
      error instanceof ApiError ? error : new ApiError('InternalServerError', String(error), 500);
    const reasons = error instanceof TransactionCanceled ? { CancellationReasons: error.reasons } : {};
    const prefix = name === 'ValidationException' ? 'com.amazon.coral.validate' : 'com.amazonaws.dynamodb.v20120810';
    answer(response, status, { __type: `${prefix}#${name}`, message, Message: message, ...reasons });
  }
}

function answer(response: ServerResponse, status: number, body: object): void {
  const text = JSON.stringify(body);
  const headers = { 'content-type': 'application/x-amz-json-1.0', 'x-amzn-requestid': randomUUID() };
  response.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(text) }).end(text);
}

/** Another stand-in, such as DynamoDB Local, which keeps the state. Each data folder has tables of its own in it. */
export function forwardDynamo(url: string, dataDir: string): Dynamo {
  const agent = new Agent({ keepAlive: true });
  const accessKeyId = createHash('sha256').update(dataDir).digest('hex').slice(0, 20);
  const server = createServer((incoming, response) => {
    const headers = { ...incoming.headers, host: new URL(url).host, authorization: signedBy(accessKeyId, incoming) };
    // as a service that is away: the connection ends without an answer
    const end = () => incoming.socket.destroy();
    const outgoing = openRequest(url, { method: 'POST', agent, headers }, (answer) => {
      copy(answer, response).catch(end);
    });
    outgoing.on('error', end);
    incoming.pipe(outgoing);
  });
  return { server, close: async () => agent.destroy() };
}

/** DynamoDB Local checks no signature, and has a database for each access key. */
function signedBy(accessKeyId: string, { headers }: IncomingMessage): string {
  return (headers.authorization ?? '').replace(/Credential=[^/]*/, `Credential=${accessKeyId}`);
}

/** In one piece, so that the answer is lost as a whole where a fault wants it lost. */
async function copy(answer: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = await bodyOf(answer);
  const { 'transfer-encoding': _inOnePiece, ...headers } = answer.headers;
  response.writeHead(answer.statusCode ?? 500, headers).end(body);
}

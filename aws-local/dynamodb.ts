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
import dynalite from 'dynalite';
import db, { type Store } from 'dynalite/db/index.js';
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
  const server = createServer((request, response) => {
    const [version, name = ''] = String(request.headers['x-amz-target']).split('.');
    const operation = version === 'DynamoDB_20120810' ? name : '';
    const upkeep = upkeepOperations[operation];
    if (operation === 'UpdateTable') void updateTable(request, response, store);
    else if (operation === 'TransactWriteItems')
      void answerWith((input) => transactions.write(input as never), request, response);
    else if (upkeep !== undefined) void answerWith((input) => upkeep(store, input as UpkeepInput), request, response);
    else inner.emit('request', request, response);
  });
  return { server, close: () => new Promise((resolve) => inner.close(() => resolve())) };
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
    return { server, store: made };
  } finally {
    db.create = create;
  }
}

/** The only use that the product has for it is an index, which dynalite cannot add. */
async function updateTable(request: IncomingMessage, response: ServerResponse, store: Store): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  const answer = await createIndexes(store, JSON.parse(Buffer.concat(chunks).toString()) as IndexCreation).then(
    (TableDescription) => ({ status: 200, body: { TableDescription } }),
    (error: Error) => ({
      status: 400,
      body: { __type: 'com.amazonaws.dynamodb.v20120810#ResourceInUseException', message: error.message },
    }),
  );
  const headers = { 'content-type': 'application/x-amz-json-1.0', 'x-amzn-requestid': randomUUID() };
  response.writeHead(answer.status, headers).end(JSON.stringify(answer.body));
}

async function answerWith(
  operation: (input: unknown) => Promise<object>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const answer = (status: number, body: object) => {
    const text = JSON.stringify(body);
    const headers = { 'content-type': 'application/x-amz-json-1.0', 'x-amzn-requestid': randomUUID() };
    response.writeHead(status, { ...headers, 'content-length': Buffer.byteLength(text) }).end(text);
  };
  try {
    const chunks: Buffer[] = [];
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
    answer(200, await operation(JSON.parse(Buffer.concat(chunks).toString('utf8'))));
  } catch (error) {
    const { name, message, status } =
      error instanceof ApiError ? error : new ApiError('InternalServerError', String(error), 500);
    const reasons = error instanceof TransactionCanceled ? { CancellationReasons: error.reasons } : {};
    const prefix = name === 'ValidationException' ? 'com.amazon.coral.validate' : 'com.amazonaws.dynamodb.v20120810';
    answer(status, { __type: `${prefix}#${name}`, message, Message: message, ...reasons });
  }
}

/** Another stand-in, such as DynamoDB Local, which keeps the state. Each data folder has tables of its own in it. */
export function forwardDynamo(url: string, dataDir: string): Dynamo {
  const agent = new Agent({ keepAlive: true });
  const accessKeyId = createHash('sha256').update(dataDir).digest('hex').slice(0, 20);
  const server = createServer((incoming, response) => {
    const headers = { ...incoming.headers, host: new URL(url).host, authorization: signedBy(accessKeyId, incoming) };
    const outgoing = openRequest(url, { method: 'POST', agent, headers }, (answer) => void copy(answer, response));
    // as a service that is away: the connection ends without an answer
    outgoing.on('error', () => incoming.socket.destroy());
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
  const chunks: Buffer[] = [];
  for await (const chunk of answer as AsyncIterable<Buffer>) chunks.push(chunk);
  const { 'transfer-encoding': _inOnePiece, ...headers } = answer.headers;
  response.writeHead(answer.statusCode ?? 500, headers).end(Buffer.concat(chunks));
}

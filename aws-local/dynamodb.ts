import { createHash } from 'node:crypto';
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

/** It is handed requests, and does not listen. */
export type Dynamo = { readonly server: Server; close(): Promise<void> };

/** Dynalite, with its state below the folder. */
export function openDynalite(dataDir: string): Dynamo {
  const server = dynalite({ path: join(dataDir, 'dynamodb'), createTableMs: 0, deleteTableMs: 0, updateTableMs: 0 });
  return { server, close: () => new Promise((resolve) => server.close(() => resolve())) };
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

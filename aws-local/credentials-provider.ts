import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { TLSSocket } from 'node:tls';
import type { Account } from './account.ts';
import { ApiError } from './errors.ts';
import type { Logger } from './logger.ts';
import { credentialsFor } from './role-aliases.ts';

/**
 * AWS IoT's credentials provider. AWS has it on a host of its own, at port 443; here it shares the port of the data plane, which asks for
 * a client certificate already. It is handed sockets, and does not listen.
 * @param certificateOf the id of the client's certificate
 */
export function createCredentialsProvider(
  account: Account,
  certificateOf: (socket: TLSSocket) => string,
  log: Logger,
): Server {
  return createServer((request, response) => {
    const certificateId = certificateOf(request.socket as TLSSocket);
    const { status, name, body } = answerTo(account, request, certificateId);
    if (name !== undefined) log.info({ certificateId, name, ...body }, 'credentials provider: refused');
    const errorType = name === undefined ? {} : { 'x-amzn-errortype': name };
    response
      .writeHead(status, { 'content-type': 'application/json', 'x-amzn-requestid': randomUUID(), ...errorType })
      .end(JSON.stringify(body));
  });
}

function answerTo(
  account: Account,
  { method, url = '', headers }: IncomingMessage,
  certificateId: string,
): { readonly status: number; readonly name?: string; readonly body: object } {
  try {
    const roleAlias = method === 'GET' ? /^\/role-aliases\/([^/?]+)\/credentials$/.exec(url)?.[1] : undefined;
    if (roleAlias === undefined) throw new ApiError('ResourceNotFoundException', 'There is no such resource here', 404);
    const named = headers['x-amzn-iot-thingname'];
    const thingName = typeof named === 'string' ? named : undefined;
    const asked = { certificateId, roleAlias: decodeURIComponent(roleAlias), thingName };
    return { status: 200, body: credentialsFor(account, asked) };
  } catch (error) {
    if (!(error instanceof ApiError)) return { status: 400, name: 'InvalidRequestException', body: {} };
    return { status: error.status, name: error.name, body: { message: error.message } };
  }
}

import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify';

/** A file of the console's pages, ready to be sent. `gzip`: absent where it would not be shorter. */
export type PageFile = {
  readonly body: Buffer;
  readonly gzip?: Buffer;
  readonly contentType: string;
  /** a strong validator, quotes included (RFC 9110, 8.8.3) */
  readonly etag: string;
  readonly cacheControl: string;
};

/** Serves files from memory. A path is looked up as it is, so none leads to another file. They hold no data, and need no session. */
export function servePages(app: FastifyInstance, pages: ReadonlyMap<string, PageFile>): void {
  for (const [path, file] of pages)
    app.get(path, { config: { access: 'open' }, schema: { hide: true } as object }, (request, reply) =>
      send(file, request, reply),
    );
}

function send(
  { body, gzip, contentType, etag, cacheControl }: PageFile,
  { headers }: FastifyRequest,
  reply: FastifyReply,
) {
  void reply.headers({ etag, 'cache-control': cacheControl, vary: 'accept-encoding' });
  if (headers['if-none-match'] === etag) return reply.code(304).send();
  void reply.type(contentType);
  if (gzip === undefined || !/\bgzip\b/.test(String(headers['accept-encoding'] ?? ''))) return reply.send(body);
  return reply.header('content-encoding', 'gzip').send(gzip);
}

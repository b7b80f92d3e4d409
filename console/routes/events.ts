import type { FastifyInstance } from 'fastify';
import { type CallerDeps, callerOf } from '../caller.ts';
import { Problem } from '../problem.ts';
import type { Sessions } from '../sessions.ts';
import type { Watchers } from '../watchers.ts';

/** A reverse proxy that signs a person in is asked again about a page that stays open: its stream ends, and the page connects anew. Milliseconds. */
const proxiedForMs = 3_600_000;

/**
 * Server-sent events. An open page does not keep an operator's session alive: another person could use it to decide. It does keep a viewer's
 * session alive, up to its longest time: that is a display on the wall.
 * @param peeking finds the caller without making the session last longer
 */
export function eventRoutes(
  app: FastifyInstance,
  watchers: Watchers,
  peeking: CallerDeps,
  keep: Sessions['keep'],
): void {
  app.get(
    '/events',
    {
      // a HEAD would get no answer, and hold a place
      exposeHeadRoute: false,
      config: { access: 'viewer' },
      schema: {
        operationId: 'watch',
        summary:
          'Server-sent events: now (as GET /now), line (as GET /line), device (a list of what happened to devices), resync (events were missed: read anew)',
        produces: ['text/event-stream'],
      } as object,
    },
    async (request, reply) => {
      const { caller } = request;
      const headers = reply.getHeaders();
      const isByProxy = caller?.session === undefined && caller?.csrf !== undefined;
      const endsAt = isByProxy ? peeking.now() + proxiedForMs : Number.POSITIVE_INFINITY;
      const isWelcome = async () => {
        if (peeking.now() > endsAt) return false;
        const found = await callerOf(request, peeking).catch(() => undefined);
        if (found?.role === 'viewer' && found.session !== undefined) await keep(found.session);
        return found !== undefined;
      };
      const added = watchers.add({
        response: reply.raw,
        caller: caller?.session?.hashedId ?? caller?.person ?? '',
        role: caller?.role ?? 'viewer',
        isWelcome,
      });
      if (!added)
        throw new Problem(
          429,
          'TooManyWatchers',
          'too many pages of the console are open',
          'close some of them, and wait a moment',
          10,
        );
      reply.hijack();
      // no time limit: it is written to every few seconds, and one that takes nothing is ended
      request.raw.socket.setTimeout(0);
      reply.raw.writeHead(200, {
        ...(headers as Record<string, string>),
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-store',
        'x-accel-buffering': 'no',
      });
      reply.raw.write('retry: 3000\n\n');
      return reply;
    },
  );
}

import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { auditOf } from '../../telemetry/audit-events.ts';
import type { ConsoleDeps } from '../deps.ts';
import { Problem } from '../problem.ts';

/** Requests that are shown one by one. */
const shown = 200;

const line = z.object({
  length: z.int(),
  oldestSeconds: z.number(),
  etaSeconds: z.number().optional().describe('until the last one is served; absent where the line does not move'),
  requests: z.array(
    z.object({
      place: z.int(),
      serial: z.string(),
      requestId: z.string(),
      since: z.string(),
      etaSeconds: z.number().optional(),
    }),
  ),
});
export type LinePage = z.infer<typeof line>;

export type LineDeps = Pick<ConsoleDeps, 'line' | 'audit' | 'now'>;

export function lineRoutes(app: FastifyInstance, deps: LineDeps): void {
  app.get(
    '/line',
    {
      config: { access: 'viewer' },
      schema: {
        operationId: 'readLine',
        summary: `What waits for AWS: the first ${shown} requests, by place`,
        response: { 200: line },
      },
    },
    () => readLine(deps),
  );

  app.post<{ Params: { requestId: string } }>(
    '/line/:requestId/front',
    {
      config: { access: 'operator' },
      schema: {
        operationId: 'moveToFront',
        summary: 'Let a request be served next',
        params: z.object({ requestId: z.string().regex(/^[A-Za-z0-9_-]{1,64}$/) }),
        response: { 200: z.object({ serial: z.string(), outcome: z.string() }) },
      },
    },
    async ({ params: { requestId }, caller }) => {
      const moved = await deps.line.toFront(requestId);
      if (moved.outcome === 'unknown')
        throw new Problem(
          404,
          'NotFound',
          'this request does not wait: it was answered meanwhile',
          'look at the device',
        );
      if (moved.outcome === 'is-tried')
        throw new Problem(
          409,
          'IsTried',
          'a worker is at this request already, or will try it again',
          'wait for its answer',
        );
      auditOf(deps.audit, caller?.person ?? '').record('moved-to-front', { serial: moved.serial, requestId });
      return moved;
    },
  );
}

/** A place is served when those before it are: the estimate that devices are told. */
export async function readLine({ line: store, now }: Pick<LineDeps, 'line' | 'now'>): Promise<LinePage> {
  const [{ length, perSecond }, requests] = await Promise.all([store.state(), store.first(shown)]);
  const eta = (position: number) =>
    perSecond === undefined ? {} : { etaSeconds: Math.round((10 * position) / perSecond) / 10 };
  const oldest = Math.min(...requests.map(({ since }) => since));
  return {
    length,
    oldestSeconds: requests.length === 0 ? 0 : Math.max(0, Math.round((now() - oldest) / 1000)),
    ...(length === 0 ? { etaSeconds: 0 } : eta(length)),
    requests: requests.map(({ position, serial, requestId, since }) => ({
      place: position,
      serial,
      requestId,
      since: new Date(since).toISOString(),
      ...eta(position),
    })),
  };
}

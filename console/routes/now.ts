import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { LiveFeed } from '../../queue/live.ts';
import { remembered } from '../../runtime/remembered.ts';
import type { ConsoleDeps } from '../deps.ts';

const [minutesShown, rememberedMs] = [60, 4000];

const now = z.looseObject({
  at: z.string(),
  ok: z.boolean(),
  perMinute: z.array(z.object({ at: z.string(), vended: z.int(), refused: z.int(), repeated: z.int() })),
  refusals: z.record(z.string(), z.int()).describe('of the last hour, by error code'),
});
export type NowPage = z.infer<typeof now>;

/** How the gateway is: read once for all who look. */
export function createNow({ status, live, now: time }: Pick<ConsoleDeps, 'status' | 'live' | 'now'>) {
  return remembered(async (): Promise<NowPage> => {
    const [state, minutes] = await Promise.all([status(), live.minutes(minutesShown, time())]);
    return { ...state, ...summaryOf(minutes) };
  }, rememberedMs);
}

function summaryOf(minutes: Awaited<ReturnType<LiveFeed['minutes']>>): Pick<NowPage, 'perMinute' | 'refusals'> {
  const refusals: Record<string, number> = {};
  for (const minute of minutes)
    for (const [code, number] of Object.entries(minute.refusals)) refusals[code] = (refusals[code] ?? 0) + number;
  return {
    perMinute: minutes.map(({ at, vended, refused, repeated }) => ({
      at: new Date(at).toISOString(),
      vended,
      refused,
      repeated,
    })),
    refusals,
  };
}

export function nowRoutes(app: FastifyInstance, read: () => Promise<NowPage>): void {
  app.get(
    '/now',
    {
      config: { access: 'viewer' },
      schema: {
        operationId: 'readNow',
        summary: 'How the gateway is, as cvm status --json, and what it did in the last hour',
        response: { 200: now },
      },
    },
    () => read(),
  );
}

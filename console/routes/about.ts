import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import type { ConsoleDeps } from '../deps.ts';
import { costOfReading } from '../pace.ts';
import { someAtATime } from '../turns.ts';
import { serialParams } from './devices.ts';

/** An explanation reads up to 64 MB of the audit trail. */
const explaining = { atOnce: 4, mostWaiting: 32 };

/** One device, the settings, and the help: what other parts know, as it is. */
export function aboutRoutes(
  app: FastifyInstance,
  { explain, settingsShown, help }: Pick<ConsoleDeps, 'explain' | 'settingsShown' | 'help'>,
): void {
  const config = { access: 'viewer' } as const;
  // each role has turns of its own: those who only look do not keep an operator from it
  const explained = {
    viewer: someAtATime(explaining, explain),
    operator: someAtATime(explaining, explain),
  };

  app.get<{ Params: { serial: string } }>(
    '/devices/:serial',
    {
      config: { access: 'viewer', cost: costOfReading },
      schema: {
        operationId: 'explainDevice',
        summary: 'One device: what happened to it, and what to do; as cvm explain --json',
        params: serialParams,
        response: {
          200: z.looseObject({
            device: z.looseObject({ serial: z.string(), state: z.string() }),
            verdict: z.looseObject({
              id: z.string(),
              title: z.string(),
              cause: z.string(),
              cure: z.string(),
              state: z.enum(['ok', 'waiting', 'problem']),
            }),
            timeline: z.array(
              z.looseObject({ at: z.string(), part: z.string(), step: z.string(), outcome: z.string() }),
            ),
            near: z.array(z.string()).optional().describe('enrolled serials that look like one that is not enrolled'),
            missing: z.array(z.string()).optional().describe('what could not be looked at'),
          }),
        },
      },
    },
    async ({ params: { serial }, caller }) => explained[caller?.role ?? 'viewer'](serial),
  );

  app.get(
    '/settings',
    {
      config,
      schema: {
        operationId: 'readSettings',
        summary: 'The settings of the console as they are; a secret is masked',
        response: {
          200: z.array(
            z.object({
              name: z.string(),
              value: z.string().optional(),
              from: z.string(),
              meaning: z.string().optional(),
            }),
          ),
        },
      },
    },
    async () => settingsShown,
  );

  app.get(
    '/help',
    {
      config,
      schema: {
        operationId: 'readHelp',
        summary: 'Failures and error codes, each with its cause and its cure',
        response: {
          200: z.array(z.object({ id: z.string(), title: z.string(), cause: z.string(), cure: z.string() })),
        },
      },
    },
    async () => help,
  );
}

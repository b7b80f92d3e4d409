import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { readAuditBackwards } from '../../runtime/audit-read.ts';
import { verifyAudit } from '../../runtime/audit-verify.ts';
import type { AuditEvents } from '../../telemetry/audit-events.ts';
import type { ConsoleDeps } from '../deps.ts';
import { invalid } from '../outcomes.ts';
import { costOfReading } from '../pace.ts';
import { oneAtATime, someAtATime } from '../turns.ts';

const query = z.object({
  serial: z.string().max(128).optional(),
  after: z.string().max(64).optional().describe('`next` of the page before'),
  limit: z.coerce.number().int().min(1).max(500).default(100),
});

/** Of a person who looks at one serial in a trail of years: a page ends after so much, and the next goes on from there. Bytes. */
const mostBytes = 32 * 1024 * 1024;
const reading = { atOnce: 4, mostWaiting: 32 };

export function auditRoutes(app: FastifyInstance, { settings }: Pick<ConsoleDeps, 'settings'>): void {
  const config = { access: 'viewer', cost: 5 * costOfReading } as const;
  const readPage = (wanted: Pick<Parameters<typeof readAuditBackwards>[1], 'serial' | 'after' | 'limit'>) =>
    readAuditBackwards<AuditEvents>(settings.auditDir, { ...wanted, mostBytes });
  // each role has turns of its own: those who only look do not keep an operator from it
  const pages = { viewer: someAtATime(reading, readPage), operator: someAtATime(reading, readPage) };
  app.get<{ Querystring: z.infer<typeof query> }>(
    '/audit',
    {
      config: { access: 'viewer', cost: costOfReading },
      schema: {
        operationId: 'readAudit',
        summary: 'The audit trail, the latest record first',
        querystring: query,
        response: {
          200: z.object({
            records: z.array(z.looseObject({ time: z.string(), event: z.string() })),
            next: z.string().optional(),
          }),
        },
      },
    },
    async ({ query: { serial, after, limit }, caller }) => {
      try {
        return await pages[caller?.role ?? 'viewer']({ serial: serial || undefined, after: after || undefined, limit });
      } catch (error) {
        if (error instanceof RangeError) throw invalid(error.message);
        throw error;
      }
    },
  );

  const verify = oneAtATime(2, () => verifyAudit(settings.auditDir));
  app.get(
    '/audit/verify',
    {
      config,
      schema: {
        operationId: 'verifyAudit',
        summary: 'Check that no record was changed, moved, removed or inserted; as cvm audit verify --json',
        response: { 200: z.object({ records: z.int(), head: z.string().optional(), faults: z.array(z.string()) }) },
      },
    },
    async () => verify(undefined),
  );
}

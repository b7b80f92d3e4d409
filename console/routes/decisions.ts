import type { FastifyInstance, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { forEachBounded } from '../../operator/bounded.ts';
import { block, remove, unblock } from '../../operator/decisions.ts';
import type { OperatorDeps } from '../../operator/deps.ts';
import type { Refusal } from '../../operator/device.ts';
import { enrol } from '../../operator/enrol.ts';
import type { FollowUp } from '../../operator/follow-up.ts';
import { worthlessLabels } from '../../operator/label-check.ts';
import { reissue } from '../../operator/reissue.ts';
import { isSerial, serialPattern } from '../../protocol/serial.ts';
import type { ConsoleDeps } from '../deps.ts';
import { alreadyEnrolled, invalid, problemOf } from '../outcomes.ts';
import { costOfReading } from '../pace.ts';
import { serialParams } from './devices.ts';

/** A person waits for the answer; a worker is at a device for a second or two. */
const patience = { ms: 4000 };

/** Devices that are decided about at the same time. */
const concurrency = 8;

const lifetime = z.coerce
  .number()
  .int()
  .min(60)
  .max(10 * 366 * 86_400)
  .optional()
  .describe('seconds from now until the token ends; absent: it does not end');
const enrolment = z.object({
  serial: z.string().max(128),
  site: z.string().optional(),
  policyName: z.string().optional(),
  thingTypeName: z.string().optional(),
  thingGroupName: z.string().optional(),
  claimGroup: z.string().optional(),
  tokenSeconds: lifetime,
});
const withToken = z.object({
  serial: z.string(),
  token: z.string().describe('shown this once'),
  site: z.string().optional(),
  unfinished: z.string().optional().describe('why AWS or the table failed after the decision stood'),
  unannounced: z.string().optional().describe('why the gateways could not be told; they notice it within the hour'),
});
const decided = z.object({
  serial: z.string(),
  outcome: z.string(),
  goneCertificate: z.string().optional(),
  row: z.string().optional(),
  unfinished: z.string().optional(),
  unannounced: z.string().optional(),
});
const bulk = z.object({
  action: z.enum(['block', 'unblock', 'reissue', 'remove']),
  serials: z.array(z.string()).min(1).max(1000),
});
type Bulk = z.infer<typeof bulk>;
const labels = z.object({
  labels: z
    .array(z.object({ serial: z.string().regex(serialPattern), token: z.string().max(512) }))
    .min(1)
    .max(20),
});
const worthless = z.object({
  serial: z.string(),
  why: z.enum(['reissued', 'removed']),
  at: z.string().optional(),
  by: z.string().optional(),
});
type Decided = { readonly outcome: string; readonly token?: string } & Partial<FollowUp>;

/** What an operator does to devices: the same functions as `cvm devices`, in the name of the person. */
export function decisionRoutes(
  app: FastifyInstance,
  { operator, explain }: Pick<ConsoleDeps, 'operator' | 'explain'>,
): void {
  const config = { access: 'operator' } as const;
  const depsOf = ({ caller }: FastifyRequest): OperatorDeps => operator(caller?.person ?? '');

  app.post<{ Body: z.infer<typeof enrolment> }>(
    '/devices',
    {
      config,
      schema: { operationId: 'enrolDevice', summary: 'Enrol a device', body: enrolment, response: { 201: withToken } },
    },
    async (request, reply) => {
      const { tokenSeconds, ...asked } = request.body;
      const wanted = {
        ...asked,
        serial: asked.serial.trim(),
        ...(tokenSeconds ? { tokenLifetimeMs: tokenSeconds * 1000 } : {}),
      };
      const { outcomes, unannounced } = await enrol([emptyLeftOut(wanted)], depsOf(request));
      const [outcome] = outcomes;
      if (outcome?.outcome === 'invalid') throw invalid(outcome.reason, outcome.cure);
      if (outcome?.outcome !== 'enrolled') throw alreadyEnrolled();
      const { serial, token } = outcome;
      void reply.code(201);
      return { serial, token, site: wanted.site || undefined, unannounced };
    },
  );

  app.post<{ Params: { serial: string } }>(
    '/devices/:serial/reissue',
    {
      config,
      schema: {
        operationId: 'reissueDevice',
        summary: 'Make a new token: the certificate works until the device has asked for a new one with it',
        params: serialParams,
        response: { 200: withToken },
      },
    },
    async (request) => {
      const { serial } = request.params;
      const result = await reissue(serial, { patience, onToken: () => {} }, depsOf(request));
      if (result.outcome === 'invalid') throw invalid(result.reason);
      if (result.outcome !== 'reissued') throw problemOf(result);
      const { token, unfinished, unannounced } = result;
      return { serial, token, unfinished, unannounced };
    },
  );

  const simple = {
    block: { summary: 'Refuse the device every certificate, and deactivate the one that it has', act: block },
    unblock: { summary: 'Undo a block', act: unblock },
  } as const;
  for (const [name, { summary, act }] of Object.entries(simple))
    app.post<{ Params: { serial: string } }>(
      `/devices/:serial/${name}`,
      { config, schema: { operationId: `${name}Device`, summary, params: serialParams, response: { 200: decided } } },
      async (request) => ({
        serial: request.params.serial,
        ...done(await act(request.params.serial, depsOf(request))),
      }),
    );

  app.delete<{ Params: { serial: string }; Querystring: { keepThing?: string } }>(
    '/devices/:serial',
    {
      config,
      schema: {
        operationId: 'removeDevice',
        summary: 'Delete the certificate, the thing and the row of a device',
        params: serialParams,
        querystring: z.object({ keepThing: z.enum(['true', 'false']).optional() }),
        response: { 200: decided },
      },
    },
    async (request) => {
      const { serial } = request.params;
      const removal = request.query.keepThing === 'true' ? 'keep-thing' : 'with-thing';
      return { serial, ...done(await remove(serial, removal, depsOf(request), patience)) };
    },
  );

  app.post<{ Body: z.infer<typeof labels> }>(
    '/devices/labels/check',
    {
      config: { access: 'operator', cost: costOfReading },
      schema: {
        operationId: 'checkLabels',
        summary:
          'Which labels are worthless, since the device has another token by now or was removed: when, and by whom',
        body: labels,
        response: { 200: z.object({ worthless: z.array(worthless) }) },
      },
    },
    async (request) => {
      const { registry } = depsOf(request);
      return { worthless: await worthlessLabels(request.body.labels, { registry, explain }) };
    },
  );

  app.post<{ Body: Bulk }>(
    '/devices/bulk',
    {
      config,
      schema: {
        operationId: 'decideForMany',
        summary: 'Do the same to many devices; each has its own outcome',
        body: bulk,
        response: {
          200: z.object({
            results: z.array(
              z.object({
                serial: z.string(),
                outcome: z.string(),
                token: z.string().optional(),
                reason: z.string().optional(),
                cure: z.string().optional(),
              }),
            ),
          }),
        },
      },
    },
    async (request) => ({ results: await decideAbout(request.body, depsOf(request)) }),
  );
}

const isRefusal = (result: { readonly outcome: string }): result is Refusal =>
  ['not-enrolled', 'being-provisioned', 'changed', 'being-removed', 'is-blocked', 'state-unknown'].includes(
    result.outcome,
  );

/** @throws Problem for a refusal */
function done<T extends { readonly outcome: string }>(result: T | Refusal): T {
  if (isRefusal(result)) throw problemOf(result);
  return result as T;
}

type BulkResult = { serial: string; outcome: string; token?: string; reason?: string; cure?: string };

/** In the order of the serials, each of them once. A token that was made is never lost to the failure of another device. */
async function decideAbout({ action, serials }: Bulk, deps: OperatorDeps): Promise<BulkResult[]> {
  const results: BulkResult[] = [];
  const wanted = [...new Set(serials)];
  await forEachBounded(wanted.entries(), concurrency, async ([index, serial]) => {
    results[index] = await decideOne(action, serial, deps).then(
      (decision) => ({ serial, ...decision }),
      (error: unknown) => ({
        serial,
        outcome: 'failed',
        reason: error instanceof Error ? error.message : String(error),
      }),
    );
  });
  return results;
}

async function decideOne(
  action: Bulk['action'],
  serial: string,
  deps: OperatorDeps,
): Promise<Omit<BulkResult, 'serial'>> {
  if (!isSerial(serial)) return { outcome: 'not-enrolled', reason: 'this is no serial' };
  const acts: Readonly<Record<Bulk['action'], () => Promise<Decided>>> = {
    block: () => block(serial, deps),
    unblock: () => unblock(serial, deps),
    reissue: () => reissue(serial, { patience, onToken: () => {} }, deps),
    remove: () => remove(serial, 'with-thing', deps, patience),
  };
  const result = await acts[action]();
  const { outcome, token, unfinished } = result;
  if (isRefusal(result)) {
    const { message: reason, cure } = problemOf(result);
    return { outcome, reason, cure };
  }
  return {
    outcome,
    ...(token === undefined ? {} : { token }),
    ...(unfinished === undefined ? {} : { reason: unfinished }),
  };
}

/** A form sends its empty fields as empty texts. */
function emptyLeftOut<T extends { readonly serial: string }>(fields: T): T {
  return Object.fromEntries(Object.entries(fields).filter(([name, value]) => name === 'serial' || value !== '')) as T;
}

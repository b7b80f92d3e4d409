import { setTimeout as delay } from 'node:timers/promises';
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { serialPattern } from '../../protocol/serial.ts';
import { type DirectoryEntry, directoryStates } from '../../queue/directory.ts';
import type { SilentReport } from '../../registry/silent-devices.ts';
import { remembered } from '../../runtime/remembered.ts';
import type { ConsoleDeps } from '../deps.ts';

const time = z.string().describe('ISO 8601');
export const serialParams = z.object({ serial: z.string().regex(serialPattern) });

export const deviceInList = z.object({
  serial: z.string(),
  state: z.enum(directoryStates),
  site: z.string().optional(),
  certificateId: z.string().optional(),
  requestedAt: time.optional(),
  registeredAt: time.optional(),
  cameAlive: z
    .object({ connected: z.boolean() })
    .optional()
    .describe(
      'false: it has never connected to AWS with its certificate, as the latest sweep found; absent: not known',
    ),
});

const query = z.object({
  prefix: z.string().max(128).optional().describe('of the serial'),
  state: z.enum(directoryStates).or(z.literal('')).optional(),
  site: z.string().max(64).optional(),
  silent: z.enum(['true', 'false', '']).optional().describe('true: has a certificate, and never connected with it'),
  after: z.string().max(128).optional().describe('`next` of the page before'),
  limit: z.coerce.number().int().min(1).max(200).default(50),
});

/** How long the report of a sweep is good for, and how long a page waits for it. The report is one row of up to a hundred kilobytes. Milliseconds. */
const [rememberedMs, waitedMs] = [10_000, 100];

export function deviceListRoutes(
  app: FastifyInstance,
  { directory, settings, operator }: Pick<ConsoleDeps, 'directory' | 'settings' | 'operator'>,
): void {
  const readSilent = remembered(() => operator('').silent.read(), rememberedMs);
  const knownSilent = createKnownSilent(readSilent);
  app.get<{ Querystring: z.infer<typeof query> }>(
    '/devices',
    {
      config: { access: 'viewer' },
      schema: {
        operationId: 'listDevices',
        summary: 'The devices that this gateway serves, in the order of their serials',
        querystring: query,
        response: {
          200: z.object({
            devices: z.array(deviceInList),
            next: z.string().optional(),
            total: z.int(),
            asked: z
              .object({ at: time, unasked: z.int(), reason: z.string().optional() })
              .optional()
              .describe(
                'with silent=true: when AWS was asked last which devices connected, and why it cannot be; absent: never',
              ),
          }),
        },
      },
    },
    async ({ query: { prefix, state, site, silent, after, limit } }) => {
      if (silent === 'true') return silentPage(await readSilent(), { prefix, state, site, after, limit });
      // this gateway serves the devices of its own site, and those without one
      if (site !== undefined && site !== '' && site !== settings.site) return { devices: [], total: 0 };
      const found = await directory.page({
        limit,
        ...(prefix ? { prefix } : {}),
        ...(state ? { state } : {}),
        ...(site ? { ofSite: true } : {}),
        ...(after ? { after } : {}),
      });
      const last = found.entries.at(-1)?.serial;
      const silentSince = await knownSilent();
      return {
        devices: found.entries.map((entry) => ({
          ...rowOf(entry, settings.site),
          ...(isSilent(entry, silentSince) ? { cameAlive: { connected: false } } : {}),
        })),
        ...(found.more && last !== undefined ? { next: last } : {}),
        total: found.total,
      };
    },
  );
}

function rowOf({ serial, state, ofSite, requestedAt, registeredAt }: DirectoryEntry, site: string | undefined) {
  return {
    serial,
    state,
    ...(ofSite && site !== undefined ? { site } : {}),
    ...(requestedAt === undefined ? {} : { requestedAt: isoTime(requestedAt) }),
    ...(registeredAt === undefined ? {} : { registeredAt: isoTime(registeredAt) }),
  };
}

/**
 * When the certificates of the devices went live that the latest sweep found silent; epoch seconds. The list does not stop for it: while the table
 * is slow or away, it is what was known before.
 */
function createKnownSilent(read: () => Promise<SilentReport | undefined>) {
  let known: { readonly report?: SilentReport | undefined; readonly since: ReadonlyMap<string, number> } = {
    since: new Map(),
  };
  const look = async () => {
    const report = await read();
    if (report === known.report) return;
    const since = new Map((report?.oldest ?? []).map(({ serial, issuedAt }) => [serial, Math.floor(issuedAt / 1000)]));
    known = { report, since };
  };
  return async (): Promise<ReadonlyMap<string, number>> => {
    await Promise.race([look().catch(() => {}), delay(waitedMs, undefined, { ref: false })]);
    return known.since;
  };
}

/** With a newer certificate, it has not been asked about yet. */
const isSilent = ({ serial, state, registeredAt }: DirectoryEntry, since: ReadonlyMap<string, number>): boolean =>
  state === 'registered' && registeredAt !== undefined && since.get(serial) === registeredAt;

const isoTime = (seconds: number) => new Date(Math.min(seconds, 8.64e12) * 1000).toISOString();

/**
 * Of the devices that the latest sweep found silent: the thousand that are so for longest, of the whole table. The table has them in one row, so
 * the list costs one read.
 */
function silentPage(
  report: SilentReport | undefined,
  { prefix = '', state, site, after = '', limit }: Omit<z.infer<typeof query>, 'silent'>,
) {
  const fitting = (report?.oldest ?? [])
    .filter((device) => device.serial.startsWith(prefix) && (!site || device.site === site))
    .filter(() => !state || state === 'registered')
    .sort((one, other) => (one.serial < other.serial ? -1 : 1));
  const rest = fitting.filter(({ serial }) => serial > after);
  const shown = rest.slice(0, limit);
  const last = shown.at(-1)?.serial;
  return {
    devices: shown.map(({ serial, site: its, issuedAt }) => ({
      serial,
      state: 'registered' as const,
      ...(its === undefined ? {} : { site: its }),
      registeredAt: isoTime(Math.floor(issuedAt / 1000)),
      cameAlive: { connected: false },
    })),
    ...(rest.length > shown.length && last !== undefined ? { next: last } : {}),
    total: fitting.length,
    ...(report === undefined
      ? {}
      : {
          asked: {
            at: new Date(report.at).toISOString(),
            unasked: report.unasked,
            ...(report.reason === undefined ? {} : { reason: report.reason }),
          },
        }),
  };
}

import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { serialPattern } from '../../protocol/serial.ts';
import { type DirectoryEntry, directoryStates } from '../../queue/directory.ts';
import type { SilentReport } from '../../registry/silent-devices.ts';
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
  cameAlive: z.object({ connected: z.boolean().optional(), at: time.optional() }).optional(),
});

const query = z.object({
  prefix: z.string().max(128).optional().describe('of the serial'),
  state: z.enum(directoryStates).or(z.literal('')).optional(),
  site: z.string().max(64).optional(),
  silent: z.enum(['true', 'false', '']).optional().describe('true: has a certificate, and never connected with it'),
  after: z.string().max(128).optional().describe('`next` of the page before'),
  limit: z.coerce.number().int().min(1).max(200).default(50),
});

export function deviceListRoutes(
  app: FastifyInstance,
  { directory, settings, operator }: Pick<ConsoleDeps, 'directory' | 'settings' | 'operator'>,
): void {
  app.get<{ Querystring: z.infer<typeof query> }>(
    '/devices',
    {
      config: { access: 'viewer' },
      schema: {
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
      if (silent === 'true') return silentPage(await operator('').silent.read(), { prefix, state, site, after, limit });
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
      return {
        devices: found.entries.map((entry) => rowOf(entry, settings.site)),
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

import { noRegionCure } from '../aws/errors.ts';
import type { SerialsFrom } from '../operator/alike-serials.ts';
import type { ExplainFacts, Explanation, GatewayHealth } from '../operator/explanation.ts';
import { findNearSerials } from '../operator/near-serials.ts';
import { explain } from '../operator/timeline.ts';
import { isSerial } from '../protocol/serial.ts';
import { type RedisConnector, triedConnector } from '../queue/redis.ts';
import { createDirectory } from '../queue/redis-directory.ts';
import { troubleOf, watchRedis } from '../queue/redis-health.ts';
import { createRunningParts } from '../queue/redis-running-parts.ts';
import { createSightingReader } from '../queue/redis-sightings.ts';
import type { Devices } from '../registry/devices.ts';
import { readAuditBackwards } from '../runtime/audit-read.ts';
import { within } from '../runtime/deadline.ts';
import { errorText } from '../runtime/errors.ts';
import { cureOf, failedCall, UpstreamRefused, UpstreamThrottled } from '../runtime/upstream.ts';
import type { AuditEvents, ProductRecord } from '../telemetry/audit-events.ts';
import type { CallFault } from '../telemetry/sightings.ts';
import type { App } from './app.ts';

/** How long each source may take, in milliseconds. */
const [redisMs, tableMs, searchMs] = [3000, 8000, 5000];

/** How long the audit trail is read for one answer, from its end on: that of a large site has gigabytes. Milliseconds. */
const usualAuditMs = 15_000;

/** Records of one device that are read at most; the latest stay. */
const maxRecords = 500;

export type Explainer = {
  /**
   * Explains a device. It never throws because a source is away: the explanation says what could not be looked at.
   * @param named a serial, or the id of a request: of logs, of the audit trail, of a timeline
   */
  explain(named: string): Promise<Explanation>;
  close(): Promise<void>;
};

/**
 * Reads what is known of a device, again and again. What it opens is closed with the app.
 * @param redis undefined where there is none to ask
 * @param auditBytes how much of the audit trail is read at most for one answer, from its end on
 */
export function openExplainer(
  app: App,
  redis: RedisConnector | undefined,
  { registry }: { readonly registry: Pick<Devices, 'find'> },
  {
    now = app.awsTime.now,
    auditBytes = Number.POSITIVE_INFINITY,
    auditMs = usualAuditMs,
  }: { now?: () => number; auditBytes?: number; auditMs?: number } = {},
): Explainer {
  const { settings } = app;
  const bounds = { mostBytes: auditBytes, mostMs: auditMs };
  const ofRedis = redis && openRedisReader(app, redis);
  const close = async () => {
    await ofRedis?.close();
  };
  app.lifecycle.add({ name: 'explain', close });

  async function readDevice(serial: string): Promise<ExplainFacts['device']> {
    if (!isSerial(serial)) return undefined;
    try {
      return await within(tableMs, 'reading the table', registry.find(serial));
    } catch (error) {
      const cure = cureOf(error);
      return {
        unread: {
          problem: errorText(error),
          ...(cure === undefined ? {} : { cure }),
          outcome: outcomeOf(error),
          ...failedCall(error),
          // the SDK's error for it has no name of its own
          ...(cure === noRegionCure ? { error: 'NoRegion' } : {}),
        },
      };
    }
  }

  /** The serial of a request, as Redis or the audit trail of this machine knows it. */
  async function serialOfRequest(requestId: string): Promise<string | undefined> {
    const noted = await ofRedis?.serialOf(requestId).catch(() => undefined);
    if (noted !== undefined) return noted;
    const page = await readAuditBackwards<AuditEvents>(settings.auditDir, {
      requestId,
      limit: 1,
      ...bounds,
    });
    const [record] = page.records;
    return record !== undefined && 'serial' in record ? record.serial : undefined;
  }

  /** The site's list of devices; without Redis there is none. */
  const serialsFrom: SerialsFrom = async (text, limit) => (await ofRedis?.serialsFrom(text, limit)) ?? [];

  async function explainSerial(serial: string, device: ExplainFacts['device']): Promise<Explanation> {
    const [{ records, unread }, seen] = await Promise.all([
      recordsOf(settings.auditDir, serial, bounds),
      ofRedis?.read(serial) ?? withoutRedis(settings.dataDir),
    ]);
    const isEnrolled = async (other: string) => (await registry.find(other)) !== undefined;
    const near =
      device === undefined
        ? await within(
            searchMs,
            'looking for similar serials',
            findNearSerials(serial, { isEnrolled, serialsFrom }),
          ).catch(() => [])
        : [];
    return explain({
      ...{ serial, device, records, near, ...seen, now: now() },
      missing: [...(seen.missing ?? []), ...unread],
      ...{ site: settings.site, table: settings.table, replayWindowMs: settings.replayWindowMs },
    });
  }

  return {
    async explain(named) {
      const device = await readDevice(named);
      const serial = device === undefined ? ((await serialOfRequest(named)) ?? named) : named;
      return explainSerial(serial, serial === named ? device : await readDevice(serial));
    },
    close,
  };
}

function outcomeOf(error: unknown): CallFault {
  if (error instanceof UpstreamRefused) return 'refused';
  return error instanceof UpstreamThrottled ? 'throttled' : 'unreachable';
}

/** The latest records of a device, oldest first. `unread`: what was too far back in the trail. */
async function recordsOf(
  folder: string,
  serial: string,
  bounds: { readonly mostBytes: number; readonly mostMs: number },
): Promise<{ readonly records: readonly ProductRecord[]; readonly unread: readonly string[] }> {
  const page = await readAuditBackwards<AuditEvents>(folder, { serial, limit: maxRecords, ...bounds });
  const stopped = page.next !== undefined && page.records.length < maxRecords;
  return {
    records: [...page.records].reverse(),
    unread: stopped
      ? [
          `the older part of the audit trail, which is large: "cvm audit show --serial ${serial}" on the gateway reads all of it`,
        ]
      : [],
  };
}

type OfRedis = Pick<ExplainFacts, 'sightings' | 'nameless' | 'health' | 'missing'>;

const nothingSeen = { sightings: [], nameless: [] };

function withoutRedis(dataDir: string): OfRedis {
  const missing = `what brokers and workers saw: REDIS_URL is not set, and no "cvm up" runs on the data folder ${dataDir}`;
  return { ...nothingSeen, health: {}, missing: [missing] };
}

function openRedisReader({ log, settings }: App, given: RedisConnector) {
  const { connector, tried } = triedConnector(given);
  const silent = log.child({}, { level: 'silent' });
  const watch = watchRedis(connector, silent, settings.redisReplicas);
  const reader = createSightingReader(connector, silent);
  const directory = createDirectory(connector, silent);
  const parts = createRunningParts(connector, silent);

  async function health(): Promise<GatewayHealth> {
    // a command asks at once: a connection that is being made is no Redis that is away
    await tried();
    const trouble = await within(redisMs, 'writing to Redis', watch.look());
    if (trouble !== undefined) {
      const { problem, cure } = trouble;
      return { redis: { id: /\b(OOM|MISCONF)\b/.test(problem) ? 'redis-full' : 'redis-away', problem, cure } };
    }
    const running = await within(redisMs, 'asking which parts run', parts.list());
    const state = (wanted: 'broker' | 'worker') => (running.some(({ part }) => part === wanted) ? 'there' : 'none');
    return { brokers: state('broker'), workers: state('worker') };
  }

  return {
    async read(serial: string): Promise<OfRedis> {
      const [seen, state] = await Promise.allSettled([
        within(redisMs, 'reading what was seen', Promise.all([reader.read(serial), reader.readNameless()])),
        health(),
      ]);
      const away = (error: unknown) => {
        const { problem, cure } = troubleOf(error, connector);
        return { redis: { id: 'redis-away' as const, problem, cure } };
      };
      const known = state.status === 'fulfilled' ? state.value : away(state.reason);
      if (seen.status === 'fulfilled') return { sightings: seen.value[0], nameless: seen.value[1], health: known };
      return { ...nothingSeen, health: known, missing: ['what brokers and workers saw: Redis is away'] };
    },
    serialOf: (requestId: string) => within(redisMs, 'looking for a request', reader.serialOf(requestId)),
    serialsFrom: directory.serialsFrom,
    async close() {
      await Promise.all([watch.close(), reader.close(), directory.close(), parts.close()]);
    },
  };
}

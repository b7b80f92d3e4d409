import type { GatewayList } from '../queue/roster.ts';
import type { Gateways, KnownGateway, SeenGateway } from '../registry/gateways.ts';
import type { Log } from '../runtime/log.ts';
import type { GatewayIdentity } from '../sealing/gateway.ts';
import type { Audit } from '../telemetry/audit-events.ts';

/** Milliseconds: how long an approval counts after it was read, and how soon the table is asked again about an unknown gateway. */
const [approvedMs, unknownMs] = [10_000, 1000];
/** How often it is said that gateways wait for approval, in milliseconds. */
const quietMs = 60_000;

export type GatewayRegister = ReturnType<typeof createGatewayRegister>;

/**
 * Knows which gateways the table has approved, without asking it for each request. Times by the clock of the process.
 * @param options.elapsed milliseconds of a clock that only goes forward
 */
export function createGatewayRegister(options: {
  readonly gateways: Pick<Gateways, 'record'>;
  readonly audit: Audit;
  readonly log: Log;
  /** of this worker */
  readonly site?: string | undefined;
  now(): number;
  elapsed?(): number;
}) {
  const { gateways, audit, log, site, now, elapsed = () => performance.now() } = options;
  let approved: ReadonlySet<string> = new Set();
  let readAt = Number.NEGATIVE_INFINITY;
  let reading: Promise<void> | undefined;
  let failed: { readonly at: number; readonly error: unknown } | undefined;
  let saidAt = Number.NEGATIVE_INFINITY;

  async function record(seen: readonly SeenGateway[]): Promise<readonly KnownGateway[]> {
    const time = now();
    // a gateway whose clock is ahead would stay known for longer, and could not come back after it was forgotten
    const noLater = seen.map(({ gateway, at }) => ({ gateway, at: Math.min(at, time) }));
    const result = await gateways.record(noLater, time, site);
    if (result.approved !== undefined) sayApproved(result.approved);
    approved = new Set(result.known.flatMap(({ id, state }) => (state === 'approved' ? [id] : [])));
    readAt = elapsed();
    sayWaiting(result.known.flatMap(({ id, state }) => (state === 'waiting' ? [id] : [])));
    return result.known;
  }

  function sayApproved({ id }: KnownGateway): void {
    audit.record('gateway-approved', { gateway: id, by: 'itself' });
    log.warn(
      { gateway: id },
      'this gateway is the first of the table and is approved: devices are enrolled for it, and what it signs is trusted. Compare the id with cvm tls show; if it is not yours, run cvm tls forget-gateway',
    );
  }

  function sayWaiting(ids: readonly string[]): void {
    if (ids.length === 0 || elapsed() - saidAt < quietMs) return;
    saidAt = elapsed();
    log.warn(
      { gateways: ids, cure: 'compare the id with cvm tls show at the gateway, then run cvm tls approve ID' },
      'gateways wait for approval, and their devices are not served',
    );
  }

  /** True and false as the table had it a moment ago; undefined when it must be asked. */
  function known({ id }: GatewayIdentity): boolean | undefined {
    const age = elapsed() - readAt;
    if (approved.has(id)) return age < approvedMs ? true : undefined;
    return age < unknownMs ? false : undefined;
  }

  /** One call at a time, whose answer counts for all that wait meanwhile. */
  async function lookUp(gateway: GatewayIdentity, at: number): Promise<boolean> {
    while (reading !== undefined) {
      await reading;
      const answer = known(gateway);
      if (answer !== undefined) return answer;
    }
    // while the table is away, requests of gateways without approval must not cost more calls
    if (failed !== undefined && elapsed() - failed.at < unknownMs) throw failed.error;
    reading = record([{ gateway, at }])
      .then(() => {})
      .catch((error: unknown) => {
        failed = { at: elapsed(), error };
        throw error;
      })
      .finally(() => {
        reading = undefined;
      });
    await reading;
    return approved.has(gateway.id);
  }

  return {
    /** Gateways that announced themselves. @returns all that the table knows @throws while the table is away */
    note: record,
    /** Whether the table has approved this gateway, which was there at `at`. @throws while the table is away */
    async isApproved(gateway: GatewayIdentity, at: number): Promise<boolean> {
      const isApproved = known(gateway) ?? (await lookUp(gateway, at));
      if (!isApproved) sayWaiting([gateway.id]);
      return isApproved;
    },
  };
}

/** By their states. */
export function listOf(known: readonly KnownGateway[]): GatewayList {
  const idsOf = (wanted: KnownGateway['state']) => known.flatMap(({ id, state }) => (state === wanted ? [id] : []));
  return { approved: idsOf('approved'), waiting: idsOf('waiting') };
}

import type { OperatorDeps } from './deps.ts';
import { type FollowUp, reasonOf } from './follow-up.ts';

/** How many serials one announcement has at most. */
const batchSize = 500;

export type Announcement = Pick<FollowUp, 'unannounced'>;

/**
 * Tells the gateways of changed devices. A failure is returned, not thrown: the change itself stands in the table.
 * @param site of these devices
 */
export async function announce(
  serials: readonly string[],
  deps: Pick<OperatorDeps, 'announce'>,
  site: string | undefined,
): Promise<Announcement> {
  if (serials.length === 0) return {};
  try {
    await deps.announce(serials, site);
    return {};
  } catch (error) {
    return { unannounced: reasonOf(error) };
  }
}

/** Collects the serials of a long run by their sites, and announces them in batches. */
export function createAnnouncer(deps: Pick<OperatorDeps, 'announce'>) {
  const batches = new Map<string | undefined, string[]>();
  let result: Announcement = {};
  const flush = async (site: string | undefined) => {
    const serials = batches.get(site) ?? [];
    batches.delete(site);
    result = { ...result, ...(await announce(serials, deps, site)) };
  };
  return {
    async add(serial: string, site: string | undefined): Promise<void> {
      const batch = batches.get(site) ?? [];
      batches.set(site, batch);
      if (batch.push(serial) >= batchSize) await flush(site);
    },
    /** Announces what is left. */
    async end(): Promise<Announcement> {
      for (const site of [...batches.keys()]) await flush(site);
      return result;
    },
  };
}

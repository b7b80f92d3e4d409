import type { OperatorDeps } from './deps.ts';
import { type FollowUp, reasonOf } from './follow-up.ts';

/** How many serials one announcement has at most. */
const batchSize = 500;

export type Announcement = Pick<FollowUp, 'unannounced'>;

/** Tells the gateways of changed devices. A failure is returned, not thrown: the change itself stands in the table. */
export async function announce(
  serials: readonly string[],
  deps: Pick<OperatorDeps, 'announce'>,
): Promise<Announcement> {
  if (serials.length === 0) return {};
  try {
    await deps.announce(serials);
    return {};
  } catch (error) {
    return { unannounced: reasonOf(error) };
  }
}

/** Collects the serials of a long run and announces them in batches. */
export function createAnnouncer(deps: Pick<OperatorDeps, 'announce'>) {
  let batch: string[] = [];
  let result: Announcement = {};
  const flush = async () => {
    const serials = batch;
    batch = [];
    result = { ...result, ...(await announce(serials, deps)) };
  };
  return {
    async add(serial: string): Promise<void> {
      batch.push(serial);
      if (batch.length >= batchSize) await flush();
    },
    /** Announces what is left. */
    async end(): Promise<Announcement> {
      await flush();
      return result;
    },
  };
}

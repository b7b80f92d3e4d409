import type { BoundReply, ReplyFeed } from '../queue/replies.ts';
import type { Log } from '../runtime/log.ts';

/** How often, in ms. A request younger than that is not looked for. */
const lookMs = 2000;
/** Answers that are fetched in one call to Redis. */
const batch = 500;

/**
 * Looks in Redis for answers whose announcement may have been missed.
 * @param options.waitingSince the requestIds that have waited for their answer at least so long
 */
export function createMissedReplySearch(options: {
  feed: Pick<ReplyFeed, 'fetch'>;
  waitingSince(ms: number): string[];
  deliver(reply: BoundReply): void;
  log: Log;
}) {
  const { feed, waitingSince, deliver, log } = options;
  let timer: NodeJS.Timeout | undefined;
  let looking = false;

  async function look(olderThanMs: number): Promise<void> {
    if (looking) return;
    looking = true;
    try {
      const due = waitingSince(olderThanMs);
      for (let start = 0; start < due.length; start += batch)
        for (const reply of await feed.fetch(due.slice(start, start + batch))) deliver(reply);
    } catch (err) {
      log.debug({ err }, 'could not look for answers; trying again');
    } finally {
      looking = false;
    }
  }

  return {
    start(): void {
      timer = setInterval(() => void look(lookMs), lookMs);
    },
    /** Announcements have been missed: whatever waits is looked for, however young. */
    lookForAll: () => void look(0),
    close: () => clearInterval(timer),
  };
}

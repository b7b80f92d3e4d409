import type { RedisConnector } from '../queue/redis.ts';
import { createDirectoryKeeper } from '../queue/redis-directory.ts';
import { createLivePublisher } from '../queue/redis-live.ts';
import { type Audit, watchedAudit } from '../telemetry/audit-events.ts';
import type { App } from './app.ts';

/** The same trail; those who watch the console hear of each event within a second or two. */
export function withWatchers({ log, lifecycle, awsTime }: App, redis: RedisConnector, audit: Audit): Audit {
  const directory = createDirectoryKeeper(redis, log);
  lifecycle.add({ name: 'directory of the watchers', close: () => directory.close() });
  const live = createLivePublisher(redis, log, {
    now: awsTime.now,
    onVended: (serials) => directory.noteRegistered(serials, Math.floor(awsTime.now() / 1000)),
  });
  lifecycle.add({ name: 'live publisher', close: () => live.close() });
  return watchedAudit(audit, live.tell);
}

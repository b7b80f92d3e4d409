import type { RedisConnector } from '../queue/redis.ts';
import { createSightingWriter } from '../queue/redis-sightings.ts';
import type { Sightings } from '../telemetry/sightings.ts';
import type { App } from './app.ts';

/** What this process sees of devices goes to Redis by way of this. */
export function keepSightings({ log, lifecycle }: App, redis: RedisConnector): Sightings {
  const writer = createSightingWriter(redis, log);
  lifecycle.add({ name: 'sightings', close: writer.close });
  return writer;
}

import type { Log } from '../runtime/log.ts';
import { createMalformedReport } from './malformed.ts';
import { disconnectRedis, type RedisConnector, untilFirstTried } from './redis.ts';
import { rosterKeys } from './stored-keys.ts';
import { withoutWrongType } from './wrong-type.ts';

/** Serials that Redis looks at in one command, commands of one search, and serials that are enough. A million serials take some seconds. */
const [atATime, maxCommands, enough] = [2000, 500, 5];

/** Searches the serials of the site's roster, a part at a time, so that no other command waits for long. */
export function createSerialSearch(connector: RedisConnector, log: Log) {
  const redis = connector.connect('answer-now', log);
  const reportMalformed = createMalformedReport(log);
  return {
    /** Some serials that fit a pattern of Redis (KEYS). @throws while Redis is away */
    async matching(pattern: string): Promise<string[]> {
      await untilFirstTried(redis);
      const found: string[] = [];
      let cursor = '0';
      for (let commands = 0; commands < maxCommands && found.length < enough; commands++) {
        const [next, flat] = await withoutWrongType(redis, [rosterKeys.entries], reportMalformed, () =>
          redis.hscan(rosterKeys.entries, cursor, 'MATCH', pattern, 'COUNT', atATime),
        );
        found.push(...flat.filter((_, index) => index % 2 === 0));
        cursor = next;
        if (cursor === '0') break;
      }
      return found.slice(0, enough);
    },
    close: () => disconnectRedis(redis),
  };
}

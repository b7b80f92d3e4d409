import type { Log } from '../runtime/log.ts';
import { createMalformedReport } from './malformed.ts';
import type { Pace } from './pace.ts';
import { disconnectRedis, type RedisConnector } from './redis.ts';
import { readPaceText, toPaceText } from './stored-forms.ts';
import { paceKey } from './stored-keys.ts';
import { withoutWrongType } from './wrong-type.ts';

/** A worker says its pace more often. Seconds. */
const forgottenSeconds = 60;

/** Longer than a pace is: of a longer text, the beginning is read, and is none. */
const maxCharacters = 16;

/** The pace in Redis, which is unsigned: it decides nothing, and only estimates are made from it. */
export function createPace(connector: RedisConnector, log: Log): Pace {
  const redis = connector.connect('answer-now', log);
  const reportMalformed = createMalformedReport(log);
  return {
    async notePace(perSecond) {
      await redis.set(paceKey, toPaceText(perSecond), 'EX', forgottenSeconds);
    },
    async readPace() {
      const text = await withoutWrongType(redis, [paceKey], reportMalformed, () =>
        redis.getrange(paceKey, 0, maxCharacters - 1),
      );
      if (text === '') return undefined;
      const perSecond = readPaceText(text);
      if (perSecond === undefined) reportMalformed('a pace');
      return perSecond;
    },
    close: () => disconnectRedis(redis),
  };
}

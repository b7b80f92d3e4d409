import type { AedesOptions } from 'aedes';
import { isSerial } from '../../protocol/serial.ts';
import type { HookContext } from './context.ts';

/**
 * A SUBSCRIBE is granted for the reply topics of a dialect, and of the connection's own serial. All others, those with
 * wildcards too, get SUBACK 128. A subscription gives nothing by itself: `forward.ts` lets through only what is sent to the
 * connection.
 */
export function createAuthorizeSubscribe({
  sessions,
  answerOnce,
  dialect,
}: HookContext): NonNullable<AedesOptions['authorizeSubscribe']> {
  return (client, subscription, done) => {
    const work = () => {
      const session = sessions.of(client);
      const granted = dialect.readFilter(subscription.topic, session);
      if (granted === undefined) return null;
      const { serial, copyForm } = granted;
      if (serial !== undefined && !(isSerial(serial) && session.bindSerial(serial))) return null;
      if (copyForm !== undefined) session.subscribed(copyForm);
      return subscription;
    };
    answerOnce.now(client, 'authorizeSubscribe', work, (_error, granted) => done(null, granted ?? null));
  };
}

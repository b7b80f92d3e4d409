import { isDeepStrictEqual } from 'node:util';
import type { AedesOptions, Client } from 'aedes';
import { isSerial, serialRule } from '../../protocol/serial.ts';
import { timeReplyTopic } from '../../protocol/time.ts';
import { topicFault } from '../../protocol/topic-fault.ts';
import { connectionOf } from '../listener/connection.ts';
import { maxFilters } from '../listener/packet-reader.ts';
import { maxTopicBytes } from '../reply-to.ts';
import { type HookContext, mqtt5Of } from './context.ts';

/**
 * A SUBSCRIBE is granted for the reply topics of a dialect, and of the connection's own serial, and for that of the time. All others, those with
 * wildcards too, get SUBACK 128. A subscription gives nothing by itself: `forward.ts` lets through only what is sent to the
 * connection.
 */
export function createAuthorizeSubscribe({
  sessions,
  answerOnce,
  dialect,
  refusals,
}: HookContext): NonNullable<AedesOptions['authorizeSubscribe']> {
  return (client, subscription, done) => {
    const work = () => {
      const session = sessions.of(client);
      const { topic } = subscription;
      const refuse = (reason: string) => {
        mqtt5Of(client)?.explain(reason);
        refusals.subscription(connectionOf(client.conn), reason);
        return null;
      };
      // a filter is kept as long as its connection, also that of a stranger
      if (Buffer.byteLength(topic) > maxTopicBytes) return refuse(`it has more than ${maxTopicBytes} bytes`);
      const grant = () => (session.addFilter(topic, maxFilters) ? subscription : refuse(tooMany));
      if (topic === timeReplyTopic) return grant();
      const granted = dialect.readFilter(topic, session);
      if (granted === undefined) return refuse(whyNotOffered(topic));
      const { serial, copyForm } = granted;
      if (serial !== undefined && !isSerial(serial)) return refuse(serialRule);
      if (serial !== undefined && !session.bindSerial(serial, 'message'))
        return refuse(`the connection speaks for another serial, which its ${session.namedBy} named`);
      const found = grant();
      if (found !== null && copyForm !== undefined) session.subscribed(copyForm);
      return found;
    };
    answerOnce.now(client, 'authorizeSubscribe', work, (_error, granted) => done(null, granted ?? null));
  };
}

const tooMany = `the connection has ${maxFilters} other subscriptions`;

function whyNotOffered(filter: string): string {
  if (filter.startsWith('$share/')) return 'shared subscriptions are not offered: subscribe to the reply topic itself';
  if (/[+#]/.test(filter)) return 'it has a wildcard, which only filters for answers of Fleet Provisioning may have';
  const fault = topicFault(filter, 'subscribe');
  return `it is not the reply topic of a serial${fault === undefined ? '' : `: ${fault}`}`;
}

/** An UNSUBSCRIBE has been answered: the connection gets no copies any more [MQTT-3.10.4-2]. */
export function createUnsubscribed({ sessions, answerOnce, dialect }: HookContext) {
  return (filters: readonly string[], client: Client): void =>
    answerOnce.guard(client, 'unsubscribe', () => {
      const session = sessions.of(client);
      for (const filter of filters) {
        session.removeFilter(filter);
        const copyForm = dialect.readFilter(filter, session)?.copyForm;
        if (copyForm !== undefined && isDeepStrictEqual(copyForm, session.copyForm)) session.unsubscribed();
      }
    });
}

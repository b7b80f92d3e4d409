import { isSerial } from '../protocol/serial.ts';
import { serialOfReply, serialOfRequest } from '../protocol/topics.ts';

const ack = 'cvm/ack/';

/** What a PUBLISH is, by topic and QoS alone. `serial` is as the topic names it, unchecked. */
export type Publication =
  | { readonly kind: 'request'; readonly serial: string }
  | { readonly kind: 'ack'; readonly serial: string }
  | { readonly kind: 'forbidden'; readonly reason: string };

/** Devices publish requests and acknowledgements; anything else closes the connection. */
export function judgePublish(topic: string, qos: number): Publication {
  if (qos > 1) return { kind: 'forbidden', reason: 'QoS 2 is not offered' };
  const serial = serialOfRequest(topic);
  if (serial !== undefined) return { kind: 'request', serial };
  if (topic.startsWith(ack) && isSerial(topic.slice(ack.length)))
    return { kind: 'ack', serial: topic.slice(ack.length) };
  return { kind: 'forbidden', reason: 'devices publish to cvm/request/<serial> and cvm/ack/<serial> only' };
}

/**
 * The serial whose reply topic this filter is, exactly; undefined when it may not be subscribed. Equality, not matching:
 * wildcards, $SYS and shared subscriptions are not equal to any reply topic.
 */
export function judgeSubscribe(filter: string, boundSerial: string | undefined): string | undefined {
  const serial = serialOfReply(filter);
  if (serial === undefined || !isSerial(serial)) return undefined;
  return boundSerial === undefined || boundSerial === serial ? serial : undefined;
}

import { serialOfAck, serialOfReply, serialOfRequest } from '../../protocol/cvm/topics.ts';
import { isSerial } from '../../protocol/serial.ts';

/** What a PUBLISH is, by topic and QoS alone. `serial` is as the topic names it, unchecked. */
export type Publication =
  | { readonly kind: 'request'; readonly serial: string }
  | { readonly kind: 'ack'; readonly serial: string }
  | { readonly kind: 'forbidden'; readonly reason: string };

/** Devices publish requests and acknowledgements; anything else closes the connection. */
export function classifyPublish(topic: string, qos: number): Publication {
  if (qos > 1) return { kind: 'forbidden', reason: 'QoS 2 is not offered' };
  const serial = serialOfRequest(topic);
  if (serial !== undefined) return { kind: 'request', serial };
  const acknowledged = serialOfAck(topic);
  if (acknowledged !== undefined) return { kind: 'ack', serial: acknowledged };
  return { kind: 'forbidden', reason: 'devices publish to cvm/request/<serial> and cvm/ack/<serial> only' };
}

/**
 * The serial whose reply topic this filter is, exactly; undefined when it may not be subscribed. Equality, not matching:
 * wildcards, $SYS and shared subscriptions are not equal to any reply topic.
 */
export function replySerialOf(filter: string, boundSerial: string | undefined): string | undefined {
  const serial = serialOfReply(filter);
  if (serial === undefined || !isSerial(serial)) return undefined;
  return boundSerial === undefined || boundSerial === serial ? serial : undefined;
}

/** The device API's topics. `<serial>` is always the last and only variable level. */
const request = 'cvm/request/';
const reply = 'cvm/reply/';
const ack = 'cvm/ack/';

export const requestTopic = (serial: string): string => request + serial;
export const replyTopic = (serial: string): string => reply + serial;
export const ackTopic = (serial: string): string => ack + serial;

/** The serial that a request topic names, unchecked; undefined when it is not a request topic. */
export function serialOfRequest(topic: string): string | undefined {
  return lastLevel(topic, request);
}

/** The serial that an acknowledgement topic names, unchecked; undefined when it is not one. */
export function serialOfAck(topic: string): string | undefined {
  return lastLevel(topic, ack);
}

/** The serial that a reply topic filter names, unchecked; undefined when it is not a reply topic. */
export function serialOfReply(filter: string): string | undefined {
  return lastLevel(filter, reply);
}

/**
 * The serial of a topic below a reply topic, unchecked: a request of MQTT 5 may have its answer there (Response Topic). undefined for any
 * other, and for a filter with a wildcard.
 */
export function serialOfTopicBelowReply(filter: string): string | undefined {
  if (!filter.startsWith(reply) || /[+#]/.test(filter)) return undefined;
  const [serial = '', ...below] = filter.slice(reply.length).split('/');
  return serial === '' || below.length === 0 || below.includes('') ? undefined : serial;
}

function lastLevel(topic: string, prefix: string): string | undefined {
  if (!topic.startsWith(prefix)) return undefined;
  const level = topic.slice(prefix.length);
  return level === '' || level.includes('/') ? undefined : level;
}

import { expect, it } from 'vitest';
import {
  ackTopic,
  replyTopic,
  requestTopic,
  serialOfAck,
  serialOfReply,
  serialOfRequest,
} from '../../protocol/cvm/topics.ts';
import { isSerial, serialRule } from '../../protocol/serial.ts';

it.each(['a', 'AA:BB:CC:00:11:22', 'x'.repeat(128), '_-_', '0'])('%s is a serial', (serial) => {
  expect(isSerial(serial)).toBe(true);
});

it.each(['', ' ', 'a b', 'x'.repeat(129), 'a/b', 'a+', '#', 'ä', 'a\n', '\na', 'a.b', '$x'])(
  '%j is not a serial',
  (text) => {
    expect(isSerial(text)).toBe(false);
    expect(serialRule).toContain('128');
  },
);

it('a topic gives its serial back', () => {
  for (const [topicOf, serialOf, topic] of [
    [requestTopic, serialOfRequest, 'cvm/request/S'],
    [replyTopic, serialOfReply, 'cvm/reply/S'],
    [ackTopic, serialOfAck, 'cvm/ack/S'],
  ] as const) {
    expect(topicOf('S')).toBe(topic);
    expect(serialOf(topic)).toBe('S');
    expect(serialOf(`x${topic}`)).toBeUndefined();
    expect(serialOf(topic.replace('cvm', 'cvn'))).toBeUndefined();
  }
});

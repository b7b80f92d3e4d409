import { describe, expect, it } from 'vitest';
import { classifyPublish, replySerialOf } from '../../broker/mqtt/access.ts';

describe('what a device may publish', () => {
  it('requests and acknowledgements', () => {
    expect(classifyPublish('cvm/request/AA:BB', 1)).toEqual({ kind: 'request', serial: 'AA:BB' });
    expect(classifyPublish('cvm/ack/AA:BB', 1)).toEqual({ kind: 'ack', serial: 'AA:BB' });
  });

  it.each([
    'cvm/reply/S',
    'cvm/request',
    'cvm/request/',
    'cvm/request/S/more',
    'cvm/requestS',
    'CVM/request/S',
    '/cvm/request/S',
    '$SYS/x',
    'anything',
    'cvm/ack/',
    'cvm/ack/a/b',
  ])('not %s', (topic) => {
    expect(classifyPublish(topic, 1).kind).toBe('forbidden');
  });

  it('not with QoS 2', () => expect(classifyPublish('cvm/request/S', 2).kind).toBe('forbidden'));
});

describe('what a device may subscribe to', () => {
  it('the reply topic of its own serial', () => {
    expect(replySerialOf('cvm/reply/S', 'S')).toBe('S');
    expect(replySerialOf('cvm/reply/S', undefined)).toBe('S');
  });

  it.each([
    'cvm/reply/+',
    'cvm/reply/#',
    '#',
    '+/+/+',
    'cvm/#',
    '$SYS/#',
    '$share/g/cvm/reply/S',
    'cvm/reply/T',
    'cvm/request/S',
    'cvm/reply/S/',
    'cvm/reply/',
    'cvm/ack/S',
  ])('not %s', (filter) => {
    expect(replySerialOf(filter, 'S')).toBeUndefined();
  });

  it('no wildcard either before it named a serial', () => {
    expect(replySerialOf('cvm/reply/+', undefined)).toBeUndefined();
    expect(replySerialOf('cvm/reply/#', undefined)).toBeUndefined();
  });
});

it('says why', () => {
  expect(classifyPublish('cvm/request/S', 2)).toMatchObject({ reason: expect.stringContaining('QoS 2') });
  expect(classifyPublish('x', 0)).toMatchObject({ reason: expect.stringContaining('cvm/request/<serial>') });
});

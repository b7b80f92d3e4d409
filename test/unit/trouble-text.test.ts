import { describe, expect, it } from 'vitest';
import { troubleOf } from '../../runtime/trouble-text.ts';

describe('the text of a trouble', () => {
  it.each([
    [
      'the broker turns devices away for lack of slots; raise CVM_MAX_CONNECTIONS, or stop the machines that hold the slots; and raise more',
      'the broker turns devices away for lack of slots',
      'raise CVM_MAX_CONNECTIONS, or stop the machines that hold the slots; and raise more',
    ],
    [
      'Redis at redis://redis:6379/0 cannot be reached (connect ECONNREFUSED: no; really): start it, or correct REDIS_URL',
      'Redis at redis://redis:6379/0 cannot be reached (connect ECONNREFUSED: no; really)',
      'start it, or correct REDIS_URL',
    ],
    [
      'free memory of Redis, or raise maxmemory (redis://redis:6379/0: OOM command not allowed)',
      'redis://redis:6379/0: OOM command not allowed',
      'free memory of Redis, or raise maxmemory',
    ],
    ['AWS refuses iot:CreateThing: add the permission', 'AWS refuses iot:CreateThing', 'add the permission'],
    [
      'AWS does not answer dynamodb:GetItem (a (nested) text: x): check the network',
      'AWS does not answer dynamodb:GetItem (a (nested) text: x)',
      'check the network',
    ],
    [
      'the disk of the audit trail, /audit, is full: free space there',
      'the disk of the audit trail, /audit, is full',
      'free space there',
    ],
  ])('is taken apart into its cause and its cure: %s', (text, cause, cure) => {
    expect(troubleOf(text)).toEqual({ cause, cure });
  });

  it('that names no cure leads to the runbooks', () => {
    expect(troubleOf('a health check')).toEqual({
      cause: 'a health check',
      cure: expect.stringContaining('docs/operations.md'),
    });
  });
});

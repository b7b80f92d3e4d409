import { describe, expect, it } from 'vitest';
import { faultsOfHabit } from '../../certify/habits.ts';
import { type Happening, Observation, type ReplySeen, type RequestSeen, storyOf } from '../../certify/observation.ts';

/** What happens on one connection, each after so many milliseconds since the begin. */
function observed(...happenings: readonly (readonly [at: number, happening: Happening])[]): Observation {
  let now = 0;
  const observation = new Observation(() => now);
  for (const [at, happening] of happenings) {
    now = at;
    observation.note(1, happening);
  }
  now += 6000;
  return observation;
}

const request = (other: Partial<RequestSeen> = {}): RequestSeen => ({
  ...{ kind: 'request', dialect: 'cvm', id: '1', key: 'a', encoding: 'json', part: 0, wantsPending: true },
  ...{ qos: 1, retain: false, dup: false },
  ...other,
});
const reply = (status: ReplySeen['status'], messageId = 1): ReplySeen => ({
  ...{ kind: 'reply', status, messageId, by: 'gateway' },
});
const puback: Happening = { kind: 'puback-from-device', messageId: 1 };
const ack = (qos = 1): Happening => ({ kind: 'ack', certificateId: 'c', qos });
const closed: Happening = { kind: 'closed', by: 'device' };
const rulesOf = (observation: Observation) => faultsOfHabit(observation).map(({ rule }) => rule);

describe('the habits of a device', () => {
  it('are good where it asks once, takes its reply and acknowledges it', () => {
    expect(rulesOf(observed([0, request()], [100, reply('accepted')], [110, puback], [120, ack()]))).toEqual([]);
  });

  it.each([
    ['readable-request', [[0, request({ fault: 'it is no JSON' })]]],
    ['qos-1', [[0, request({ qos: 0 })]]],
    ['qos-1', [[0, ack(0)]]],
    ['not-retained', [[0, request({ retain: true })]]],
    ['same-token', [[0, { kind: 'token', right: false, in: 'CONNECT' }]]],
    [
      'same-key',
      [
        [0, request()],
        [10, closed],
        [9000, request({ key: 'b' })],
      ],
    ],
    [
      'one-request-at-a-time',
      [
        [0, request()],
        [4000, request()],
      ],
    ],
    [
      'acknowledges-messages',
      [
        [0, request()],
        [10, reply('accepted')],
      ],
    ],
    [
      'subscribes-first',
      [
        [0, request()],
        [10, { kind: 'subscribe', topics: ['cvm/reply/S'] }],
      ],
    ],
  ] as const)('break %s', (rule, happenings) => {
    expect(rulesOf(observed(...happenings))).toEqual([rule]);
  });

  it.each([
    [
      'after so long without an answer',
      [
        [0, request()],
        [10_000, request()],
      ],
    ],
    [
      'after an answer',
      [
        [0, request()],
        [100, reply('rejected')],
        [110, puback],
        [1200, request()],
      ],
    ],
    [
      'on another connection',
      [
        [0, request()],
        [10, closed],
        [1000, request()],
      ],
    ],
    [
      'for a part',
      [
        [0, request()],
        [100, request({ part: 3 })],
      ],
    ],
  ] as const)('may have it ask again %s', (_when, happenings) => {
    expect(rulesOf(observed(...happenings))).toEqual([]);
  });

  it('do not need a PUBACK for a message whose connection ended just after it', () => {
    expect(rulesOf(observed([0, request()], [10, reply('accepted')], [20, closed]))).toEqual([]);
  });
});

it('the story of a device tells what happened and when, and no more of it than a line has room for', () => {
  const short = observed([0, request()], [1500, reply('rejected')], [1600, closed]);
  expect(storyOf(short.seen)).toBe('0.0 s asked · 1.5 s got rejected · 1.6 s left');
  const long = observed(...Array.from({ length: 5000 }, (_, at) => [at, request()] as const));
  expect(storyOf(long.seen).split(' · ')).toHaveLength(16);
});

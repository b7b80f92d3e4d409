import { type Problem, problem, problems } from '../../protocol/problems.ts';
import type { Case } from '../case.ts';
import { seconds } from '../habits.ts';
import type { DeviceLink, FromDevice } from '../script.ts';
import { atFirstOfDevice } from './at-first.ts';
import { certificateCase, failed } from './certificate-case.ts';
import { hurriedAfter } from './pending.ts';

const page = 'docs/protocol.md';

const refuseWith = (reason: Problem) => (link: DeviceLink, message: FromDevice) => {
  if (message.type === 'request') link.puback(message.messageId);
  link.answer({ status: 'rejected', problem: reason });
};

/** After a refusal for good the device is watched for so long, in milliseconds. */
const watchMs = 6000;

/** Refuses every request for good: the device must not ask again by itself. */
export function refusedForGood(name: string, reason: Problem, cure: string, more: Partial<Case> = {}): Case {
  const about = {
    name,
    level: 'mandatory',
    plays: `answers ${reason.code}, which has no retryAfter`,
    wants: 'does not ask again by itself, and keeps its key',
    cure,
    reference: `${page}#reply`,
    lingerMs: watchMs,
    endsAtRefusal: true,
    ...more,
  } as const;
  return {
    ...about,
    play: ({ observation }) => ({
      fromDevice(message, link) {
        if (message.type !== 'request') return false;
        refuseWith(reason)(link, message);
        return true;
      },
      done: () => observation.replies('rejected').length > 0,
      judge() {
        const [rejected] = observation.replies('rejected');
        if (rejected === undefined) return [failed(about, 'it did not ask')];
        // what was on its way when the refusal was sent does not count
        const more = observation.requests.filter(({ at }) => at > rejected.at + 200);
        const [next] = more;
        if (next === undefined) return [];
        const cause = `it asked ${more.length} more times, ${seconds(next.at - rejected.at)} after the refusal for the first time`;
        return [failed(about, cause)];
      },
    }),
  };
}

/** In Fleet Provisioning the seconds stand in the words, which clients of AWS do not read; they wait for some time all the same. Milliseconds. */
const leastWaitMs = 1000;

/** Refuses the first request for a time. */
export function refusedForNow(
  name: string,
  reason: Problem & { readonly retryAfterSeconds: number },
  more: Partial<Case> = {},
): Case {
  const about = {
    name,
    level: 'mandatory',
    plays: `answers ${reason.code} to the first request, with retryAfter ${reason.retryAfterSeconds} (Fleet Provisioning: "ask again in ${reason.retryAfterSeconds} s")`,
    wants: 'asks again after retryAfter, with the same token and key',
    cure: 'keep token and key, wait for the seconds of retryAfter (Fleet Provisioning: those at the end of errorMessage), then ask again',
    reference: `${page}#waiting`,
    lingerMs: 1500,
    ...more,
  } as const;
  return certificateCase({
    ...about,
    disturb(context) {
      const first = atFirstOfDevice(context, ({ type }) => type === 'request', refuseWith(reason));
      const { observation } = context;
      const judge = () =>
        hurriedAfter(observation, first.happenedAt(), reason.retryAfterSeconds * 1000, (cause, waitedMs) => {
          const isAdvice = observation.requests[0]?.dialect === 'fleet-provisioning' && waitedMs >= leastWaitMs;
          return { ...failed(about, cause), ...(isAdvice ? { level: 'advice' } : {}) };
        });
      return { ...first, judge };
    },
  });
}

export const askOperator = 'without retryAfter end here, keep the key, and show errorCode and errorMessage to a person';

export const refusals: readonly Case[] = [
  refusedForNow('throttled', {
    ...problem('Throttled', 'this device asks too fast: wait for an answer before asking again'),
    retryAfterSeconds: 4,
  }),
  refusedForNow('unavailable', { ...problems.upstreamRefuses, retryAfterSeconds: 3 }),
  refusedForGood(
    'key-mismatch',
    problems.keyMismatch,
    `${askOperator}. A new key does not help: ask with the first one, or have the device reissued`,
  ),
  refusedForGood('blocked', problems.blocked, askOperator),
  refusedForGood('already-provisioned', problems.alreadyProvisioned, askOperator),
];

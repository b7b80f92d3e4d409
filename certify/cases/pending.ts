import type { Case } from '../case.ts';
import { seconds } from '../habits.ts';
import type { Observation } from '../observation.ts';
import type { Finding } from '../rules.ts';
import { atFirstOfGateway, beginsAccepted } from './at-first.ts';
import { certificateCase, failed } from './certificate-case.ts';
import { cvmOnly } from './cvm-only.ts';

/** What the device is told of its wait, and how long that is. Seconds. */
const shortWait = { position: 2, etaSeconds: 3, retryAfterSeconds: 5 };
const longWait = { position: 2, retryAfterSeconds: 4 };
/** Where a device stays on its connection although it is not told for how long, the reply comes after this time. Milliseconds. */
const staysMs = 12_000;
/** A device may come so much too early, in milliseconds: its clock is not ours. */
const earlyMs = 400;

type Wait = {
  readonly told: { readonly position: number; readonly etaSeconds?: number; readonly retryAfterSeconds: number };
  readonly replyAfterMs: number;
  /** a device that asks again waits so long before it does */
  readonly leastMs: number;
};

/** Says pending in the place of the reply, which comes later. */
function saysPending(
  own: Pick<Case, 'name' | 'plays' | 'wants' | 'cure'>,
  { told, replyAfterMs, leastMs }: Wait,
): Case {
  const about = { ...own, level: 'mandatory', reference: 'docs/protocol.md#waiting', lingerMs: 1500 } as const;
  return certificateCase({
    ...about,
    skip: cvmOnly('Fleet Provisioning has no pending', ({ wantsPending }) =>
      wantsPending ? undefined : 'it asks with "pending": false',
    ),
    disturb(context) {
      const first = atFirstOfGateway(context, beginsAccepted, (link, _reply, frame) => {
        link.answer({ status: 'pending', ...told });
        link.after(replyAfterMs, () => link.toDevice(frame));
      });
      const judge = () =>
        hurriedAfter(context.observation, first.happenedAt(), leastMs, (cause) => failed(about, cause));
      return { ...first, judge };
    },
  });
}

const pendingFirst = saysPending(
  {
    name: 'pending-first',
    plays: `says pending at first (${shortWait.etaSeconds} seconds), then sends the reply`,
    wants: 'waits, or leaves and comes back after retryAfter',
    cure: 'pending is no answer: keep token and key, and go on waiting',
  },
  { told: shortWait, replyAfterMs: shortWait.etaSeconds * 1000, leastMs: shortWait.etaSeconds * 1000 },
);

const pendingLong = saysPending(
  {
    name: 'pending-long',
    plays: `says pending, not how long, and retryAfter ${longWait.retryAfterSeconds}`,
    wants: 'leaves and comes back after retryAfter, or waits',
    cure: 'without etaSeconds disconnect, sleep for retryAfter, connect, and ask again with the same token and key',
  },
  { told: longWait, replyAfterMs: staysMs, leastMs: longWait.retryAfterSeconds * 1000 },
);

/** A request that comes sooner than the device was told. Where its program ended, the pause was not the device's. */
export function hurriedAfter(
  observation: Observation,
  toldAt: number | undefined,
  waitMs: number,
  failedWith: (cause: string, waitedMs: number) => Finding,
): Finding[] {
  if (toldAt === undefined) return [];
  const next = observation.requests.find(({ at, part }) => part === 0 && at > toldAt + 50);
  if (next === undefined || next.at - toldAt >= waitMs - earlyMs) return [];
  if (observation.all('program-ended').some(({ at }) => at >= toldAt && at <= next.at)) return [];
  const waitedMs = next.at - toldAt;
  return [
    failedWith(`it asked again ${seconds(waitedMs)} after that, and was to wait for ${seconds(waitMs)}`, waitedMs),
  ];
}

export const pendingCases: readonly Case[] = [pendingFirst, pendingLong];

import { afterEach, describe, expect, it } from 'vitest';
import { createCounters } from '../../broker/counters.ts';
import { createPendingReplies } from '../../broker/pending-replies.ts';
import { createSession, type PendingRequest, presentToken } from '../../broker/session.ts';
import type { Answer } from '../../protocol/answer.ts';
import { problems } from '../../protocol/problems.ts';
import type { SealedReply } from '../../queue/replies.ts';
import { createLog } from '../../runtime/log.ts';
import { sealer } from '../../sealing/replies.ts';

const log = createLog('silent');
const accepted: Answer = {
  status: 'accepted',
  credentials: { certificateId: 'c', certificatePem: 'c', thingName: 'SN', endpoint: 'e', rootCaPem: 'r' },
};
const form = { format: 'pem', encoding: 'json', id: 'mine' } as const;
const later = () => new Promise<void>((resolve) => setTimeout(resolve, 20));

const desks: { close(): void }[] = [];
afterEach(() => {
  for (const pendingReplies of desks.splice(0)) pendingReplies.close();
});

/** One question of a connection that subscribed waits; `announce` brings its answer, `settle` is the guess book's. */
async function waiting(settle: NonNullable<PendingRequest['settle']>, answer: Answer = accepted) {
  let announce: (reply: SealedReply) => void = () => {};
  const feed = {
    listen: async (listener: typeof announce) => {
      announce = listener;
    },
    fetch: async () => [],
    close: async () => {},
  };
  const pendingReplies = createPendingReplies({ feed, counters: createCounters(), log, now: Date.now, maxTokens: 4 });
  desks.push(pendingReplies);
  await pendingReplies.start();
  const heard: { id?: string; status?: string }[] = [];
  const session = createSession(undefined, async (_topic, payload) => void heard.push(JSON.parse(payload.toString())));
  session.serial = 'SN';
  session.subscribed = true;
  const presentedToken = presentToken(session, 'SN', 'a token of the device');
  pendingReplies.open(session, {
    requestId: 'ask',
    token: presentedToken,
    requestKey: 'q',
    form,
    since: Date.now(),
    settle,
  });
  const sealed = sealer.answer(presentedToken.keys.publicKey, presentedToken.recipientId, answer);
  return {
    heard,
    pendingReplies,
    session,
    presentedToken,
    announce: (other?: Answer) =>
      announce({
        requestId: 'ask',
        recipientId: presentedToken.recipientId,
        sealed:
          other === undefined
            ? sealed
            : sealer.answer(presentedToken.keys.publicKey, presentedToken.recipientId, other),
      }),
    leave: () => pendingReplies.leave(session),
  };
}

describe('the answer to a token that is not verified yet', () => {
  it('is heard only when what the guess costs is booked', async () => {
    let booked = () => {};
    const outcomes: string[] = [];
    const ask = await waiting(
      (outcome) => {
        outcomes.push(outcome);
        return new Promise((resolve) => {
          booked = resolve;
        });
      },
      { status: 'rejected', problem: problems.invalidToken },
    );
    ask.announce();
    await later();
    expect([outcomes, ask.heard.length]).toEqual([['wrong'], 0]);
    booked();
    await expect.poll(() => ask.heard.length).toBe(1);
  });

  it('is heard once, with the id that was asked with, however often it is announced', async () => {
    const outcomes: string[] = [];
    const ask = await waiting((outcome) => {
      outcomes.push(outcome);
      return later();
    });
    ask.announce();
    ask.announce();
    await expect.poll(() => ask.heard).toMatchObject([{ status: 'accepted', id: 'mine' }]);
    ask.announce();
    await later();
    expect(ask.heard).toHaveLength(1);
    expect(outcomes).toEqual(['right']);
  });

  it('says what came of the guess, though the connection leaves before it is heard', async () => {
    const outcomes: string[] = [];
    const ask = await waiting((outcome) => {
      outcomes.push(outcome);
      return later();
    });
    ask.announce();
    ask.leave();
    await later();
    await later();
    expect([outcomes, ask.heard]).toEqual([['right'], []]);
  });

  it('is owed to nobody who left while his question was being taken in', async () => {
    const outcomes: string[] = [];
    const settle = async (outcome: string) => void outcomes.push(outcome);
    const { pendingReplies, session, presentedToken, heard, announce, leave } = await waiting(settle);
    leave();
    pendingReplies.present(session, presentedToken);
    pendingReplies.open(session, {
      requestId: 'ask',
      token: presentedToken,
      requestKey: 'q',
      form,
      since: Date.now(),
      settle,
    });
    announce();
    await later();
    expect([outcomes, heard, session.presented.size, session.pending.size]).toEqual([['unknown', 'unknown'], [], 0, 0]);
  });
});

describe('an answer that is not final', () => {
  it('is written to the device each time that it says something new, and the request goes on waiting', async () => {
    const outcomes: string[] = [];
    const pending: Answer = { status: 'pending', position: 9, etaSeconds: 30, retryAfterSeconds: 60 };
    const ask = await waiting(async (outcome) => void outcomes.push(outcome), pending);
    ask.announce();
    ask.announce();
    ask.announce({ ...pending, position: 2 });
    await later();
    expect(ask.heard).toMatchObject([
      { status: 'pending', id: 'mine', position: 9, etaSeconds: 30, retryAfter: 60 },
      { status: 'pending', id: 'mine', position: 2 },
    ]);
    expect([ask.session.pending.size, outcomes, ask.session.verified.size]).toEqual([1, [], 0]);
    ask.announce(accepted);
    await expect.poll(() => ask.heard.map(({ status }) => status)).toEqual(['pending', 'pending', 'accepted']);
    expect([ask.session.pending.size, outcomes]).toEqual([0, ['right']]);
  });

  it('is not written to other connections, nor to a connection that has closed', async () => {
    const pending: Answer = { status: 'pending', position: 9, etaSeconds: 30, retryAfterSeconds: 60 };
    const outcomes: string[] = [];
    const ask = await waiting(async (outcome) => void outcomes.push(outcome), pending);
    const listener: unknown[] = [];
    const other = createSession(undefined, async (_topic, payload) => void listener.push(payload));
    Object.assign(other, { serial: 'SN', subscribed: true });
    ask.pendingReplies.present(other, ask.presentedToken);
    ask.announce();
    await later();
    expect([ask.heard.length, listener.length]).toEqual([1, 0]);
    ask.leave();
    ask.announce({ ...pending, position: 1 });
    await later();
    expect([ask.heard.length, outcomes]).toEqual([1, ['unknown']]);
  });
});

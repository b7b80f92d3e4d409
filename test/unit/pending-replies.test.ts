import { afterEach, describe, expect, it } from 'vitest';
import { createCounters } from '../../broker/counters.ts';
import { createPendingReplies } from '../../broker/pending-replies.ts';
import { createSession, type PendingRequest, presentToken } from '../../broker/session.ts';
import type { Answer } from '../../protocol/cvm/reply.ts';
import { problems } from '../../protocol/problems.ts';
import type { SealedReply } from '../../queue/replies.ts';
import { createLog } from '../../runtime/log.ts';
import { sealer } from '../../sealing/replies.ts';

const log = createLog('silent');
const accepted: Answer = {
  accepted: { certificateId: 'c', certificatePem: 'c', thingName: 'SN', endpoint: 'e', rootCaPem: 'r' },
};
const form = { format: 'pem', encoding: 'json', id: 'mine' } as const;
const later = () => new Promise<void>((resolve) => setTimeout(resolve, 20));

describe('the answer to a token that nobody vouched for', () => {
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
    const heard: { id?: string }[] = [];
    const session = createSession(
      undefined,
      async (_topic, payload) => void heard.push(JSON.parse(payload.toString())),
    );
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
      announce: () => announce({ requestId: 'ask', recipientId: presentedToken.recipientId, sealed }),
      leave: () => pendingReplies.leave(session),
    };
  }

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
      { rejected: problems.invalidToken },
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

import { afterEach, describe, expect, it } from 'vitest';
import { createPendingReplies } from '../../broker/pending-replies.ts';
import { Session } from '../../broker/session.ts';
import type { PendingRequest } from '../../broker/waiting-requests.ts';
import type { Answer } from '../../protocol/answer.ts';
import { cvm } from '../../protocol/cvm/dialect.ts';
import { replyTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { problems } from '../../protocol/problems.ts';
import type { BoundReply } from '../../queue/replies.ts';
import { createLog } from '../../runtime/log.ts';
import { sealer } from '../../sealing/replies.ts';
import { createMetrics } from '../../telemetry/metrics.ts';
import { noLine } from '../support/no-line.ts';
import { noBrokerSightings } from '../support/unguarded.ts';

const log = createLog('silent');
const accepted: Answer = {
  status: 'accepted',
  credentials: { certificateId: 'c', certificatePem: 'c', thingName: 'SN', endpoint: 'e', rootCaPem: 'r' },
};
const later = () => new Promise<void>((resolve) => setTimeout(resolve, 20));
const closing: { close(): void }[] = [];
afterEach(() => {
  for (const pendingReplies of closing.splice(0)) pendingReplies.close();
});

type Reply = { readonly id?: string; readonly status?: string };

/** A connection of the device SN that subscribed to its reply topic, and the replies that it gets. */
function subscriber(): { session: Session; heard: Reply[] } {
  const heard: Reply[] = [];
  const session = new Session({
    remoteAddress: '192.0.2.1',
    address: '127.0.0.1',
    send: async (_topic, payload) => void heard.push(JSON.parse(payload.toString())),
    deliver: async () => {},
    onVerified() {},
  });
  session.bindSerial('SN', 'message');
  session.subscribed(cvm.readFilter(replyTopic('SN'), session)?.copyForm);
  return { session, heard };
}

/** One request of a subscriber waits. `announce` brings its answer; `settle` belongs to the attempt limiter. */
async function waiting(settle: NonNullable<PendingRequest['settle']>, answer: Answer = accepted) {
  let listener: (reply: BoundReply) => void = () => {};
  const feed = {
    listen: async (added: typeof listener) => {
      listener = added;
    },
    fetch: async () => [],
    close: async () => {},
  };
  const { metrics } = createMetrics();
  const pendingReplies = createPendingReplies({
    ...{
      feed,
      ...noLine,
      dialect: cvm,
      metrics,
      log,
      refusals: { message() {}, unsent() {} },
      sightings: noBrokerSightings,
    },
    now: Date.now,
    maxTokens: 4,
    partMs: 1000,
  });
  closing.push(pendingReplies);
  await pendingReplies.start();
  const { session, heard } = subscriber();
  const token = session.presentToken('SN', 'a token of the device');
  const request: PendingRequest = {
    requestId: 'request-1',
    token,
    requestKey: 'key-1',
    wantKey: 'want-1',
    form: cvm.read(requestTopic('SN'), Buffer.from('{"id":"mine"}'), session)?.form,
    settle,
  };
  pendingReplies.addRequest(session, request);
  const seal = (each: Answer) => sealer.answer(token.keys.publicKey, token.recipientId, each);
  const sealed = seal(answer);
  return {
    heard,
    pendingReplies,
    session,
    token,
    request,
    announce: (other?: Answer, requestId = 'request-1', requestKey = 'key-1') =>
      listener({
        requestId,
        requestKey,
        recipientId: token.recipientId,
        sealed: other === undefined ? sealed : seal(other),
      }),
    close: () => pendingReplies.connectionClosed(session),
  };
}

describe('the answer to a token that is not verified yet', () => {
  it('is sent only when the attempt is settled', async () => {
    let settled = () => {};
    const outcomes: string[] = [];
    const { announce, heard } = await waiting(
      (outcome) => {
        outcomes.push(outcome);
        return new Promise((resolve) => {
          settled = resolve;
        });
      },
      { status: 'rejected', problem: problems.invalidToken },
    );
    announce();
    await later();
    expect([outcomes, heard.length]).toEqual([['wrong'], 0]);
    settled();
    await expect.poll(() => heard.length).toBe(1);
  });

  it('is sent to the request that it answers, and to no other one that Redis names', async () => {
    const { announce, heard } = await waiting(later);
    announce(accepted, 'request-1', 'key of another request');
    await later();
    expect(heard).toEqual([]);
    announce();
    await expect.poll(() => heard).toMatchObject([{ id: 'mine', status: 'accepted' }]);
  });

  it('is sent once, with the id of the request, however often it is announced', async () => {
    const outcomes: string[] = [];
    const { announce, heard } = await waiting((outcome) => {
      outcomes.push(outcome);
      return later();
    });
    announce();
    announce();
    await expect.poll(() => heard).toMatchObject([{ status: 'accepted', id: 'mine' }]);
    announce();
    await later();
    expect(heard).toHaveLength(1);
    expect(outcomes).toEqual(['right']);
  });

  it.each([
    ['its address has to wait', problems.tooManyAttempts],
    ['AWS is away', problems.upstreamRefuses],
  ])('says nothing of the token where %s, since that was not judged', async (_why, reason) => {
    const outcomes: string[] = [];
    const { announce, heard, session, token } = await waiting(async (outcome) => void outcomes.push(outcome), {
      status: 'rejected',
      problem: reason,
    });
    announce();
    await expect.poll(() => heard.length).toBe(1);
    expect([outcomes, session.isVerified(token)]).toEqual([['unknown'], false]);
  });

  it('settles the attempt, though the connection closes before it is sent', async () => {
    const outcomes: string[] = [];
    const { announce, close, heard } = await waiting((outcome) => {
      outcomes.push(outcome);
      return later();
    });
    announce();
    close();
    await later();
    await later();
    expect([outcomes, heard]).toEqual([['right'], []]);
  });

  it('is not owed to a connection that closed while its request was being taken in', async () => {
    const outcomes: string[] = [];
    const settle = async (outcome: string) => void outcomes.push(outcome);
    const { pendingReplies, session, token, request, heard, announce, close } = await waiting(settle);
    close();
    pendingReplies.registerToken(session, token);
    pendingReplies.addRequest(session, request);
    announce();
    await later();
    expect([outcomes, heard]).toEqual([['unknown', 'unknown'], []]);
    expect([session.latestToken, pendingReplies.countOf(session)]).toEqual([undefined, 0]);
  });
});

describe('a request that is sent again before its answer', () => {
  const askedAgain = (id: string, { request, session }: Awaited<ReturnType<typeof waiting>>): PendingRequest => ({
    ...request,
    requestId: `again-${id}`,
    form: cvm.read(requestTopic('SN'), Buffer.from(JSON.stringify({ id })), session)?.form,
  });

  it('is answered once for each id, under the id that the queue has for it', async () => {
    const started = await waiting(async () => {});
    const { pendingReplies, session, heard, announce } = started;
    for (const id of ['mine', 'other']) {
      pendingReplies.addRequest(session, askedAgain(id, started));
      pendingReplies.requestStored(session, askedAgain(id, started), { requestId: 'request-1', requestKey: 'key-1' });
    }
    expect(pendingReplies.countOf(session)).toBe(2);
    announce();
    await expect.poll(() => heard.map(({ id }) => id)).toEqual(['mine', 'other']);
    expect(pendingReplies.countOf(session)).toBe(0);
  });

  it('is answered, too, by the reply to the first where its CSR has other bytes, and by no other reply', async () => {
    const started = await waiting(async () => {});
    const { pendingReplies, session, heard, announce } = started;
    const again = { ...askedAgain('signed anew', started), requestKey: 'key-2' };
    pendingReplies.addRequest(session, again);
    pendingReplies.requestStored(session, again, { requestId: 'request-1', requestKey: 'key-1' });
    announce(accepted, 'request-1', 'key-2');
    await later();
    expect(heard).toEqual([]);
    announce();
    await expect.poll(() => heard.map(({ id }) => id)).toEqual(['mine', 'signed anew']);
    expect(pendingReplies.countOf(session)).toBe(0);
  });

  it('is answered once for each id when the queue has forgotten the first', async () => {
    const started = await waiting(async () => {});
    const { pendingReplies, session, heard, announce } = started;
    const again = askedAgain('other', started);
    pendingReplies.addRequest(session, again);
    pendingReplies.requestStored(session, again, again);
    announce();
    await later();
    expect(heard).toEqual([]);
    announce(accepted, again.requestId);
    await expect.poll(() => heard.map(({ id }) => id)).toEqual(['mine', 'other']);
  });

  it('is answered, too, when the queue says that it has it while the answer is on its way', async () => {
    let settled = () => {};
    const started = await waiting(
      () =>
        new Promise((resolve) => {
          settled = resolve;
        }),
    );
    const { pendingReplies, session, heard, announce } = started;
    announce();
    const again = askedAgain('other', started);
    pendingReplies.addRequest(session, again);
    pendingReplies.requestStored(session, again, { requestId: 'request-1', requestKey: 'key-1' });
    settled();
    await expect.poll(() => heard.map(({ id }) => id)).toEqual(['mine', 'other']);
  });
});

describe('an answer that is not final', () => {
  const pending: Answer = { status: 'pending', position: 9, etaSeconds: 30, retryAfterSeconds: 60 };

  it('is written to the device each time that it says something new, and the request goes on waiting', async () => {
    const outcomes: string[] = [];
    const settle = async (outcome: string) => void outcomes.push(outcome);
    const { announce, heard, pendingReplies, session, token } = await waiting(settle, pending);
    announce();
    announce();
    announce({ ...pending, position: 2 });
    await later();
    expect(heard).toEqual([
      { status: 'pending', id: 'mine', position: 9, etaSeconds: 30, retryAfter: 60, time: expect.any(Number) },
      { status: 'pending', id: 'mine', position: 2, etaSeconds: 30, retryAfter: 60, time: expect.any(Number) },
    ]);
    expect([pendingReplies.countOf(session), outcomes, session.isVerified(token)]).toEqual([1, [], false]);
    announce(accepted);
    await expect.poll(() => heard.map(({ status }) => status)).toEqual(['pending', 'pending', 'accepted']);
    expect([pendingReplies.countOf(session), outcomes]).toEqual([0, ['right']]);
  });

  it('is not written to the other connections of the device, which get the certificate later', async () => {
    const { announce, heard, pendingReplies, token } = await waiting(async () => {}, pending);
    const other = subscriber();
    pendingReplies.registerToken(other.session, token);
    announce();
    await later();
    expect([heard.length, other.heard.length]).toEqual([1, 0]);
    announce(accepted);
    await expect.poll(() => other.heard).toMatchObject([{ status: 'accepted' }]);
  });

  it('is not written to a connection that has closed, and its attempt is settled as unknown', async () => {
    const outcomes: string[] = [];
    const { announce, close, heard } = await waiting(async (outcome) => void outcomes.push(outcome), pending);
    announce();
    await later();
    close();
    announce({ ...pending, position: 1 });
    await later();
    expect([heard.length, outcomes]).toEqual([1, ['unknown']]);
  });
});

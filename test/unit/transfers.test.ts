import { describe, expect, it } from 'vitest';
import { Session } from '../../broker/session.ts';
import { createTransfers } from '../../broker/transfers.ts';
import type { ReplyParts } from '../../protocol/dialect.ts';

const later = (ms = 5) => new Promise<void>((resolve) => setTimeout(resolve, ms));

/** Parts of which the payload is their name and number. */
const partsOf = (digest: string, last: number, first = 0): ReplyParts => ({
  ...{ digest, first, last },
  part: (number) => Buffer.from(`${digest}${number}`),
});

/** A connection, what it was sent, and the acknowledgement of each. */
function connect({ partMs = 10_000, fails = false } = {}) {
  const sent: string[] = [];
  const acknowledge: (() => void)[] = [];
  const errors: unknown[] = [];
  const transfers = createTransfers({ partMs, onError: (_session, error) => errors.push(error) });
  const session = new Session({
    ...{ remoteAddress: '', address: '', send: async () => {}, onVerified() {} },
    deliver: (_topic, payload) => {
      if (fails) return Promise.reject(new Error('the connection is closed'));
      sent.push(payload.toString());
      return new Promise((resolve) => acknowledge.push(resolve));
    },
  });
  const begin = (parts: ReplyParts) => transfers.begin(session, 'topic', parts);
  /** Of the message that was sent at this place; the last one unless given. */
  const acknowledgeOf = async (at = -1) => {
    acknowledge.at(at)?.();
    await later();
  };
  return { transfers, session, sent, errors, begin, acknowledge: acknowledgeOf };
}

describe('a reply in parts', () => {
  it('is sent from the part on that was asked for, each after the acknowledgement of the one before, and then forgotten', async () => {
    const { begin, sent, acknowledge, transfers, session } = connect();
    begin(partsOf('a', 4, 2));
    await later();
    expect(sent).toEqual(['a2']);
    for (const last of ['a3', 'a4']) {
      await acknowledge();
      expect(sent.at(-1)).toBe(last);
      expect(transfers.countOf(session)).toBe(1);
    }
    await acknowledge();
    expect([sent, transfers.countOf(session)]).toEqual([['a2', 'a3', 'a4'], 0]);
    begin(partsOf('b', 0));
    expect(sent.at(-1)).toBe('b0');
  });

  it('goes on from the part that is asked for again, at once, and does not begin a second time', async () => {
    const { begin, sent, acknowledge, transfers, session } = connect();
    begin(partsOf('a', 9));
    await acknowledge();
    await acknowledge();
    begin(partsOf('a', 9, 1));
    await later();
    expect([sent, transfers.countOf(session)]).toEqual([['a0', 'a1', 'a2', 'a1'], 1]);
    // the acknowledgement of what was sent before moves nothing
    await acknowledge(2);
    expect(sent).toHaveLength(4);
    await acknowledge();
    expect(sent.slice(4)).toEqual(['a2']);
  });

  it('is sent again from the same part, where that is asked for again', async () => {
    const { begin, sent, acknowledge } = connect();
    begin(partsOf('a', 9, 3));
    await later();
    begin(partsOf('a', 9, 3));
    await later();
    expect(sent).toEqual(['a3', 'a3']);
    await acknowledge();
    expect(sent).toEqual(['a3', 'a3', 'a4']);
  });

  it('waits for the one before it', async () => {
    const { begin, sent, acknowledge, transfers, session } = connect();
    begin(partsOf('a', 1));
    begin(partsOf('b', 1));
    begin(partsOf('b', 1, 1));
    await later();
    expect([sent, transfers.countOf(session)]).toEqual([['a0'], 2]);
    await acknowledge();
    await acknowledge();
    expect(sent).toEqual(['a0', 'a1', 'b1']);
  });

  it('begins anew where it is cut in another way: the device has larger packets now', async () => {
    const { begin, sent, acknowledge } = connect();
    begin(partsOf('a', 1));
    begin(partsOf('a', 3));
    await later();
    await acknowledge();
    await acknowledge();
    expect(sent).toEqual(['a0', 'a1', 'a0']);
  });

  it('is given up when the device acknowledges nothing in time, and the next one begins', async () => {
    const { begin, sent, transfers, session } = connect({ partMs: 20 });
    begin(partsOf('a', 9));
    begin(partsOf('b', 9));
    await expect.poll(() => sent).toEqual(['a0', 'b0']);
    await expect.poll(() => transfers.countOf(session)).toBe(0);
    begin(partsOf('a', 9, 1));
    expect(sent).toEqual(['a0', 'b0', 'a1']);
  });

  it('ends with its connection, and none begins after that', async () => {
    const { begin, sent, acknowledge, transfers, session } = connect();
    begin(partsOf('a', 9));
    begin(partsOf('b', 9));
    session.close();
    transfers.release(session);
    await acknowledge();
    begin(partsOf('c', 9));
    await later();
    expect([sent, transfers.countOf(session)]).toEqual([['a0'], 0]);
  });

  it('ends where it cannot be written', async () => {
    const { begin, errors, transfers, session } = connect({ fails: true });
    begin(partsOf('a', 9));
    await later();
    expect([errors, transfers.countOf(session)]).toEqual([[new Error('the connection is closed')], 0]);
  });
});

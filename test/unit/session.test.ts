import { describe, expect, it } from 'vitest';
import { Session } from '../../broker/session.ts';
import { createTokenHolders } from '../../broker/token-holders.ts';

function connect() {
  let verified = 0;
  const session = new Session({
    remoteAddress: '192.0.2.1',
    address: '192.0.2.1',
    send: async () => {},
    deliver: async () => {},
    onVerified: () => verified++,
  });
  return { session, verified: () => verified };
}

describe('a session', () => {
  it('says in one place how large a packet may be: what CONNECT said, and the latest message that named it', () => {
    const { session } = connect();
    expect(session.maxPacket).toBeUndefined();
    session.published({ encoding: 'json', maxPacket: 256 });
    session.published({ encoding: 'json' });
    expect(session.maxPacket).toBe(256);
    session.published({ encoding: 'json', maxPacket: 1024 });
    expect(session.maxPacket).toBe(1024);
    session.connectedTaking(512);
    expect(session.maxPacket).toBe(512);
    session.published({ encoding: 'json', maxPacket: 128 });
    expect(session.maxPacket).toBe(128);
  });

  it('speaks for the first serial that it names, and for no other', () => {
    const { session } = connect();
    expect(session.serial).toBeUndefined();
    expect([
      session.bindSerial('SN', 'message'),
      session.bindSerial('another', 'user name'),
      session.bindSerial('SN', 'message'),
    ]).toEqual([true, false, true]);
    expect(session.serial).toBe('SN');
  });

  it('derives the keys of a token once, as long as it is kept', () => {
    const { session } = connect();
    const token = session.presentToken('SN', 'a token');
    session.keepToken(token, 8);
    expect(session.presentToken('SN', 'a token')).toBe(token);
    expect(session.presentToken('SN', 'another token')).not.toBe(token);
  });

  it('does not verify one token by another', () => {
    const { session, verified } = connect();
    session.bindSerial('SN', 'message');
    const [right, wrong] = [session.presentToken('SN', 'right'), session.presentToken('SN', 'wrong')];
    session.markVerified(right);
    expect([session.isVerified(right), session.isVerified(wrong), verified()]).toEqual([true, false, 1]);
  });

  it('counts a message that is being taken in until it ends, and its end once', () => {
    const { session } = connect();
    const [endFirst] = [session.beginMessage(), session.beginMessage()];
    expect(session.messagesUnderWay).toBe(2);
    endFirst();
    endFirst();
    expect(session.messagesUnderWay).toBe(1);
  });
});

describe('the connections that presented a token', () => {
  it('are found by it until they close', () => {
    const holders = createTokenHolders(8);
    const [{ session: first }, { session: second }] = [connect(), connect()];
    const token = first.presentToken('SN', 'a token');
    for (const session of [first, second]) holders.add(session, token);
    expect(holders.of(token.recipientId)).toEqual([first, second]);
    holders.release(first);
    expect(holders.of(token.recipientId)).toEqual([second]);
    expect([first.closed, first.latestToken]).toEqual([true, undefined]);
    // an answer may still be on its way to it
    holders.add(first, token);
    expect(holders.of(token.recipientId)).toEqual([second]);
  });

  it('are remembered for the tokens that they presented last, and a forgotten token is no longer verified', () => {
    const holders = createTokenHolders(2);
    const { session } = connect();
    const tokens = ['first', 'second', 'third'].map((token) => session.presentToken('SN', token));
    for (const token of tokens) {
      holders.add(session, token);
      session.markVerified(token);
    }
    expect(tokens.map(({ recipientId }) => holders.of(recipientId).length)).toEqual([0, 1, 1]);
    expect(tokens.map((token) => session.isVerified(token))).toEqual([false, true, true]);
    expect(session.latestToken).toBe(tokens[2]);
    // presented again: it is the latest, and the other one is the oldest now
    for (const index of [1, 0]) {
      const token = tokens[index];
      if (token !== undefined) holders.add(session, token);
    }
    expect(tokens.map(({ recipientId }) => holders.of(recipientId).length)).toEqual([1, 1, 0]);
  });
});

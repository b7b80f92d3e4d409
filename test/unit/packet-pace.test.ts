import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { createAddressPaces } from '../../broker/listener/address-pace.ts';
import { PacketPace } from '../../broker/listener/packet-pace.ts';

const plenty = { burst: 1e6, perSecond: 1e6 };
const taken = (pace: PacketPace, tries: number) =>
  Array.from({ length: tries }, () => pace.take()).filter(Boolean).length;

/** A connection that has more packets than it may send, as the frame guard reads them. @returns how many have passed */
function flood(pace: PacketPace): () => number {
  let passed = 0;
  const read = () => {
    while (pace.take()) passed++;
    pace.wait(read);
  };
  read();
  return () => passed;
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});
const pass = (ms: number) => vi.advanceTimersByTime(ms);

describe('the pace of the packets of one connection', () => {
  const limits = {
    packets: { burst: 3, perSecond: 2 },
    verifiedPackets: { burst: 5, perSecond: 10 },
    packetsFreeOfAddress: 0,
  };
  const start = () => new PacketPace(limits, createAddressPaces(plenty).join('192.0.2.1'));

  it('allows a burst, then a fixed number a second, and never more than a burst at once', () => {
    const pace = start();
    expect(taken(pace, 10)).toBe(3);
    pass(499);
    expect(taken(pace, 10)).toBe(0);
    pass(1);
    expect(taken(pace, 10)).toBe(1);
    pass(3_600_000);
    expect(taken(pace, 10)).toBe(3);
  });

  it('calls once when the next packet may pass, and not after its connection has ended', () => {
    const pace = start();
    taken(pace, 10);
    const next = vi.fn();
    pace.wait(next);
    pass(499);
    expect(next).not.toHaveBeenCalled();
    pass(10_000);
    expect(next).toHaveBeenCalledTimes(1);
    taken(pace, 10);
    pace.wait(next);
    pace.stop();
    pass(10_000);
    expect(next).toHaveBeenCalledTimes(1);
  });

  it('is faster from the moment at which the token is verified, once, also for packets that wait', () => {
    const pace = start();
    const passed = flood(pace);
    expect(passed()).toBe(3);
    pace.verified();
    pace.verified();
    pass(1);
    expect(passed()).toBe(5);
    pass(1000);
    expect(passed()).toBe(15);
  });

  it('is that of a stranger again when the token is not current any more', () => {
    const pace = start();
    pace.verified();
    pace.unverified();
    expect(taken(pace, 10)).toBe(3);
    pass(1000);
    expect(taken(pace, 10)).toBe(2);
  });
});

describe('the packets of all connections of one address', () => {
  const [burst, perSecond, free] = [20, 10, 4];
  const limits = { packets: { burst: 50, perSecond: 10 }, verifiedPackets: plenty, packetsFreeOfAddress: free };
  function site() {
    const addresses = createAddressPaces({ burst, perSecond });
    const connect = (address = '192.0.2.1') => {
      const ofAddress = addresses.join(address);
      return Object.assign(new PacketPace(limits, ofAddress), { close: ofAddress.leave });
    };
    return { addresses, connect };
  }
  const sum = (counts: readonly (() => number)[]) => counts.reduce((all, count) => all + count(), 0);

  it('have one budget before proof, however many connections it opens', () => {
    const { connect } = site();
    const flooding = Array.from({ length: 100 }, () => flood(connect()));
    expect(sum(flooding)).toBe(100 * free + burst);
    pass(10_000);
    expect(sum(flooding)).toBe(100 * free + burst + 10 * perSecond);
    // in turns, so that no connection takes the turns of the others
    expect(Math.max(...flooding.slice(10).map((count) => count()))).toBeLessThanOrEqual(free + 2);
  });

  it('do not wait for their certificate, however many devices come at once, and whatever floods beside them', () => {
    const { connect } = site();
    const flooding = Array.from({ length: 10 }, () => flood(connect()));
    pass(5000);
    // CONNECT, SUBSCRIBE, PUBLISH
    const served = Array.from({ length: 2000 }, () => taken(connect(), 3));
    expect(served.every((count) => count === 3)).toBe(true);
    expect(sum(flooding)).toBe(10 * free + burst + 5 * perSecond);
  });

  it('go on at once when their token is verified, and take nothing from the others then', () => {
    const { connect } = site();
    const [device, stranger] = [connect(), connect()];
    flood(stranger);
    const passed = flood(device);
    expect(passed()).toBe(free);
    device.verified();
    pass(1);
    expect(passed()).toBeGreaterThan(1000);
  });

  it('have no other budget with new connections, until it is full again; then nothing is kept of the address', () => {
    const { addresses, connect } = site();
    const first = connect();
    expect(taken(first, 100)).toBe(free + burst);
    first.close();
    const second = connect();
    expect(taken(second, 100)).toBe(free);
    second.close();
    expect(addresses.size()).toBe(1);
    pass(1000 * (burst / perSecond));
    expect(addresses.size()).toBe(0);
  });

  it('take nothing from another address, and give their place in the line up when they end', () => {
    const { connect } = site();
    const flooding = [connect(), connect()];
    const [one, two] = flooding.map(flood);
    expect(taken(connect('192.0.2.2'), 100)).toBe(free + burst);
    flooding[0]?.stop();
    const before = [one?.() ?? 0, two?.() ?? 0];
    pass(1000);
    expect([one?.(), two?.()]).toEqual([before[0], (before[1] ?? 0) + perSecond]);
  });
});

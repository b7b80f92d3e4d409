import { describe, expect, it } from 'vitest';
import { createPacketPace } from '../../broker/listener/packet-pace.ts';

describe('the pace of the packets of one connection', () => {
  const limits = { packets: { burst: 3, perSecond: 2 }, verifiedPackets: { burst: 5, perSecond: 10 } };
  function start() {
    let time = 1000;
    const pace = createPacketPace(limits, () => time);
    const taken = (tries: number) => Array.from({ length: tries }, () => pace.take()).filter(Boolean).length;
    const pass = (ms: number) => {
      time += ms;
    };
    return { pace, taken, pass };
  }

  it('allows a burst, then a fixed number a second, and never more than a burst at once', () => {
    const { pace, taken, pass } = start();
    expect(taken(10)).toBe(3);
    expect(pace.waitMs()).toBe(500);
    pass(499);
    expect(taken(10)).toBe(0);
    pass(1);
    expect(taken(10)).toBe(1);
    pass(3_600_000);
    expect([pace.waitMs(), taken(10)]).toEqual([0, 3]);
  });

  it('is faster from the moment at which the token is verified, once', () => {
    const { pace, taken, pass } = start();
    expect(taken(10)).toBe(3);
    pace.verified();
    pace.verified();
    expect(taken(10)).toBe(2);
    pass(1000);
    expect(taken(20)).toBe(5);
    expect(pace.waitMs()).toBe(100);
  });

  it('is that of a stranger again when the token is not current any more', () => {
    const { pace, taken, pass } = start();
    pace.verified();
    pace.unverified();
    expect(taken(10)).toBe(3);
    pass(1000);
    expect(taken(10)).toBe(2);
  });
});

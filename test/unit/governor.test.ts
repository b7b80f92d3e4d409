import { describe, expect, it } from 'vitest';
import { createGovernor } from '../../aws/governor.ts';
import { createOwnBuckets, type QuotaBuckets } from '../../aws/quota-buckets.ts';
import { createLog } from '../../runtime/log.ts';
import { UpstreamThrottled } from '../../runtime/upstream.ts';
import { createMetrics } from '../../telemetry/metrics.ts';
import { createVirtualTime } from '../support/virtual-time.ts';

const limits = { UpdateCertificate: 10, AttachPolicy: 15 };
const path = ['iot:UpdateCertificate', 'iot:AttachPolicy'] as const;
const away = () => Promise.reject(new Error('Redis is away'));

function open(change: Partial<QuotaBuckets> = {}) {
  const time = createVirtualTime();
  const buckets = { ...createOwnBuckets(limits, { now: time.now }), ...change };
  const metrics = createMetrics().metrics;
  const governor = createGovernor({ limits, buckets, log: createLog('silent'), metrics, clock: time });
  return { time, buckets, governor };
}

/** Answers these one after the other, then success. */
function gateOf(...answers: readonly Error[]) {
  const made: string[] = [];
  return {
    made,
    async call<T>(operation: string, send: () => Promise<T>): Promise<T> {
      const error = answers[made.push(operation) - 1];
      if (error !== undefined) throw error;
      return send();
    },
  };
}

describe('the quota governor', () => {
  it('gives back the tokens of a request that made no calls, and only those that it did not use', async () => {
    const { time, governor } = open();
    const { call } = governor.forDevices(gateOf());
    await time.until(
      (async () => {
        for (let count = 0; count < 50; count++) await (await governor.admit(path))?.end();
        expect(time.now()).toBe(0);
        for (let count = 0; count < 20; count++) {
          const permit = await governor.admit(path);
          await call('iot:UpdateCertificate', async () => {});
          await permit?.end();
        }
      })(),
    );
    // two at once, and then ten a second
    expect(time.now()).toBeGreaterThan(1700);
  });

  it('lets the next request begin as soon as tokens are given back: a wrong token costs the devices behind it no turn', async () => {
    const { time, governor } = open();
    const work = async () => {
      const [first] = [await governor.admit(path), await governor.admit(path)];
      const third = governor.admit(path).then(() => time.now());
      await time.sleep(10);
      await first?.end();
      return third;
    };
    expect(await time.until(work())).toBeLessThan(20);
  });

  it('makes a throttled call again, and no other error', async () => {
    const { time, governor } = open();
    const gate = gateOf(new UpstreamThrottled('iot:UpdateCertificate'), new Error('lost'));
    const work = governor.forDevices(gate).call('iot:UpdateCertificate', async () => {});
    await expect(time.until(work)).rejects.toThrow('lost');
    expect(gate.made).toHaveLength(2);
  });

  /** When each call of four requests went whose tokens were there long before. @param answers of the gate, one after the other */
  async function callTimes(...answers: readonly Error[]): Promise<number[]> {
    const { time, governor } = open();
    const [gate, times] = [gateOf(...answers), [] as number[]];
    const { call } = governor.forDevices({
      call(operation, send) {
        times.push(time.now());
        return gate.call(operation, send);
      },
    });
    const work = async () => {
      for (let count = 0; count < 4; count++) await governor.admit(path);
      await time.sleep(10_000);
      await Promise.all(Array.from({ length: 4 }, () => call('iot:UpdateCertificate', async () => {})));
    };
    await time.until(work());
    const [first = 0] = times;
    return times.map((at) => Math.round(at - first));
  }

  it('sends calls that were held up one after the other, at the rate of the quota', async () => {
    expect(await callTimes()).toEqual([0, 0, 100, 200]);
  });

  it('sends calls that have their tokens at the lower rate, once one of them was throttled', async () => {
    const times = await callTimes(new UpstreamThrottled('iot:UpdateCertificate'));
    expect(times).toHaveLength(5);
    expect(times.at(-1)).toBeGreaterThan(600);
  });

  it('keeps no room for requests that stopped waiting for their turn', async () => {
    let waitMs = 1000;
    const { time, governor } = open({ takeAll: () => Promise.resolve(waitMs) });
    for (let count = 0; count < 10; count++) {
      const leave = new AbortController();
      const turn = governor.admit(path, leave.signal);
      const stopping = time.sleep(500).then(() => leave.abort());
      expect(await time.until(Promise.all([turn, stopping]))).toEqual([undefined, undefined]);
    }
    waitMs = 0;
    expect(await time.until(governor.admit(path))).toBeDefined();
  });

  it('gives a throttled call up in time for the lease of its request', async () => {
    const { time, governor } = open();
    const gate = gateOf(...Array.from({ length: 1000 }, () => new UpstreamThrottled('iot:UpdateCertificate')));
    const work = governor.forDevices(gate).call('iot:UpdateCertificate', async () => {});
    await expect(time.until(work)).rejects.toThrow(UpstreamThrottled);
    expect(time.now()).toBeLessThan(10_000);
  });

  it('lets nothing begin while Redis is away, and lets what is under way go on', async () => {
    const { time, governor } = open({ takeAll: away, takeOne: away, throttled: away, giveBack: away });
    const leave = new AbortController();
    const admitted = governor.admit(path, leave.signal);
    const { call } = governor.forDevices(gateOf(new UpstreamThrottled('iot:UpdateCertificate')));
    expect(await time.until(call('iot:UpdateCertificate', async () => 'done'))).toBe('done');
    leave.abort();
    expect(await time.until(admitted)).toBeUndefined();
  });

  it('leaves a task its share of a rate while devices take all, and no more', async () => {
    const { time, governor } = open();
    const task = gateOf();
    const leave = new AbortController();
    const devices = async () => {
      const { call } = governor.forDevices(gateOf());
      for (;;) {
        const permit = await governor.admit(path, leave.signal);
        if (permit === undefined) return;
        await Promise.all(path.map((operation) => call(operation, async () => {})));
        await permit.end();
      }
    };
    const sweep = async () => {
      const { call } = governor.forTask(task, 0.2);
      while (!leave.signal.aborted) await call('iot:UpdateCertificate', async () => {});
    };
    const over = time.sleep(30_000).then(() => {
      leave.abort();
      governor.close();
    });
    await time.until(Promise.all([devices(), sweep(), over]));
    expect(task.made.length).toBeGreaterThan(50);
    expect(task.made.length).toBeLessThan(66);
  });

  it('does not hold up operations without a quota', async () => {
    const { governor } = open({ takeAll: away, takeOne: away });
    await governor.forDevices(gateOf()).call('dynamodb:GetItem', async () => {});
    expect(await governor.perSecond(['iot:DescribeEndpoint'])).toBeUndefined();
    expect(await governor.perSecond(path)).toBeCloseTo(9.95);
  });
});

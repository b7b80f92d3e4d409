import { describe, expect, it } from 'vitest';
import { createLineNotices } from '../../broker/line-notices.ts';
import { Session } from '../../broker/session.ts';
import { createWaitingRequests } from '../../broker/waiting-requests.ts';
import type { Answer } from '../../protocol/answer.ts';
import type { LineSecond } from '../../queue/line.ts';
import { createLog } from '../../runtime/log.ts';

type Pending = Extract<Answer, { status: 'pending' }>;
type Notice = Pending & { readonly second: number };
type Device = { readonly arrives: number; readonly notices: Notice[]; answered?: number };

/** Numbers that look random, the same in each run. */
function createRandom(): () => number {
  let state = 1;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}

const tokenOf = (serial: string) => ({ tokenHash: serial, recipientId: serial, keys: {} as never });

/**
 * One broker and its line in virtual time, second by second.
 * @param answersIn how many requests are answered in a second; undefined while no worker runs
 * @param allowed the pace that workers say; undefined while none says one
 */
async function simulate(options: {
  arrivals: readonly number[];
  answersIn(second: number): number | undefined;
  allowed(second: number): number | undefined;
  until: number;
}): Promise<Device[]> {
  const { arrivals, answersIn, allowed, until } = options;
  let second = 0;
  const now = () => second * 1000;
  const devices: Device[] = arrivals.map((arrives) => ({ arrives, notices: [] }));
  const waiting = createWaitingRequests(now);
  const [line, seconds]: [number[], LineSecond[]] = [[], []];
  const sessions = devices.map(
    (_, index) =>
      new Session({
        remoteAddress: '',
        address: '',
        onVerified() {},
        send: async () => void index,
        deliver: async () => {},
      }),
  );
  const marksOf = (length: number) => {
    const shown = Math.min(length, 65);
    return Array.from(
      { length: shown },
      (_, at) => line[Math.floor((at * (length - 1)) / Math.max(1, shown - 1))] ?? 0,
    );
  };
  const notices = createLineNotices({
    line: {
      look: async (entries) => ({
        view: { second, length: line.length, marks: marksOf(line.length), seconds: seconds.slice(0, 30) },
        places: entries.map(({ requestId }) => (line.includes(Number(requestId)) ? Number(requestId) : undefined)),
      }),
    },
    pace: { readPace: async () => allowed(second) },
    waitingSince: waiting.waitingSince,
    askersOf: waiting.askersOf,
    send: (_session, _request, form, notice) =>
      void devices[Number(form)]?.notices.push({ ...(notice as Pending), second }),
    workers: { look() {} },
    log: createLog('silent'),
    now,
    random: createRandom(),
  });
  let credit = 0;
  for (; second < until; second++) {
    for (const [index, { arrives }] of devices.entries()) {
      if (Math.floor(arrives) !== second) continue;
      line.push(index);
      const request = {
        requestId: String(index),
        token: tokenOf(`SN-${index}`),
        requestKey: '',
        wantKey: '',
        form: index,
      };
      waiting.add(sessions[index] as Session, request);
    }
    const able = answersIn(second);
    credit = able === undefined ? 0 : credit + able;
    let answered = 0;
    for (; credit >= 1 && line.length > 0; credit--, answered++) {
      const index = line.shift() as number;
      (devices[index] as Device).answered = second;
      waiting.remove(sessions[index] as Session, String(index));
    }
    if (line.length === 0) credit = 0;
    if (able !== undefined && (line.length > 0 || answered > 0))
      seconds.unshift({ second, answered, waiting: line.length });
    await notices.lookOnce();
  }
  return devices;
}

const firstError = ({ notices: [first], answered = 0 }: Device): number => {
  if (first?.etaSeconds === undefined) return Number.POSITIVE_INFINITY;
  const waited = answered - first.second;
  return Math.abs(first.etaSeconds - waited) / Math.max(1, waited);
};
const told = (devices: readonly Device[]) => devices.filter(({ notices }) => notices.length > 0);
const median = (values: readonly number[]) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
const most = (devices: readonly Device[]) => Math.max(...devices.map(({ notices }) => notices.length));
const storm = (count: number) => Array<number>(count).fill(1);

const newSession = () =>
  new Session({ remoteAddress: '', address: '', onVerified() {}, send: async () => {}, deliver: async () => {} });

describe('the devices of a line are told how long they wait', () => {
  it('by the pace that AWS allows, at the start of a storm of 600', async () => {
    const devices = await simulate({ arrivals: storm(600), answersIn: () => 10, allowed: () => 9.8, until: 70 });
    expect(told(devices).length).toBeGreaterThan(550);
    expect(median(told(devices).map(firstError))).toBeLessThan(0.05);
    expect(Math.max(...told(devices).map(({ notices }) => notices[0]?.second ?? 0))).toBeLessThanOrEqual(3);
  });

  it('by what is really answered, where the workers are slower than AWS', async () => {
    const arrivals = Array.from({ length: 600 }, (_, index) => 1 + index / 20);
    const devices = await simulate({ arrivals, answersIn: () => 6, allowed: () => 10, until: 130 });
    expect(median(told(devices).map(firstError))).toBeLessThan(0.2);
  });

  it('by what is really answered, where a whole site comes and the machine does a fifth of what AWS allows', async () => {
    const arrivals = Array.from({ length: 1200 }, (_, index) => 1 + index / 100);
    const devices = await simulate({ arrivals, answersIn: () => 40, allowed: () => 200, until: 50 });
    expect(median(told(devices).map(firstError))).toBeLessThan(0.2);
  });

  it('by what is really answered, where no worker says what AWS allows', async () => {
    const devices = await simulate({ arrivals: storm(600), answersIn: () => 10, allowed: () => undefined, until: 70 });
    expect(median(told(devices).map(firstError))).toBeLessThan(0.2);
  });

  it('in a storm after a quiet time, of which the few answers tell no pace', async () => {
    const quiet = Array.from({ length: 30 }, (_, index) => index);
    const arrivals = [...quiet, ...Array<number>(300).fill(40)];
    const devices = await simulate({ arrivals, answersIn: () => 10, allowed: () => 9.8, until: 90 });
    expect(told(devices.slice(0, 30))).toEqual([]);
    expect(median(told(devices).map(firstError))).toBeLessThan(0.1);
  });

  it('again when the estimate changes much, and a bounded number of times', async () => {
    const answersIn = (second: number) => (second < 20 ? 10 : 3);
    const devices = await simulate({ arrivals: storm(600), answersIn, allowed: () => 9.8, until: 200 });
    const last = devices.at(-1) as Device;
    expect(last.notices.length).toBeGreaterThan(1);
    expect(last.notices.map(({ position }) => position)).toEqual(
      [...last.notices.map(({ position }) => position)].sort((a, b) => b - a),
    );
    const slow = last.notices.find(({ second }) => second > 40);
    expect(Math.abs((slow?.etaSeconds ?? 0) - ((last.answered ?? 0) - (slow?.second ?? 0)))).toBeLessThan(30);
    expect(most(devices)).toBeLessThanOrEqual(20);
  });

  it('at most twenty times, however the pace swings', async () => {
    const answersIn = (second: number) => (Math.floor(second / 12) % 2 === 0 ? 6 : 0);
    const devices = await simulate({ arrivals: storm(3000), answersIn, allowed: () => undefined, until: 900 });
    expect(most(devices)).toBeLessThanOrEqual(20);
  });

  it('that there is no estimate while AWS is away, and how long it takes when AWS is back', async () => {
    const answersIn = (second: number) => (second >= 10 && second < 60 ? 0 : 10);
    const devices = await simulate({ arrivals: storm(400), answersIn, allowed: () => 9.8, until: 130 });
    const { notices, answered = 0 } = devices.at(-1) as Device;
    const unknown = notices.filter(({ etaSeconds }) => etaSeconds === undefined);
    expect(unknown).toHaveLength(1);
    expect(unknown[0]?.second).toBeLessThan(30);
    expect(unknown[0]?.retryAfterSeconds).toBeGreaterThanOrEqual(60);
    expect(unknown[0]?.retryAfterSeconds).toBeLessThanOrEqual(120);
    const after = notices.find(({ second, etaSeconds }) => second > 60 && etaSeconds !== undefined);
    expect(after?.second).toBeLessThan(75);
    expect(Math.abs((after?.etaSeconds ?? 0) - (answered - (after?.second ?? 0)))).toBeLessThan(20);
  });

  it('that there is no estimate while no worker runs', async () => {
    const answersIn = (second: number) => (second < 10 ? 10 : undefined);
    const devices = await simulate({
      arrivals: storm(400),
      answersIn,
      allowed: (at) => (at < 60 ? 9.8 : undefined),
      until: 90,
    });
    const { notices } = devices.at(-1) as Device;
    expect(notices.at(-1)).toMatchObject({ position: expect.any(Number), retryAfterSeconds: expect.any(Number) });
    expect(notices.at(-1)?.etaSeconds).toBeUndefined();
    const never = await simulate({
      arrivals: storm(5),
      answersIn: () => undefined,
      allowed: () => undefined,
      until: 20,
    });
    expect(never.map(({ notices: said }) => said.map(({ etaSeconds }) => etaSeconds))).toEqual(
      Array(5).fill([undefined]),
    );
  });

  it('once for each id that a connection asks with, a later one as soon as the first', async () => {
    let second = 0;
    const told: string[] = [];
    const waiting = createWaitingRequests(() => second * 1000);
    const session = newSession();
    const view = { second: 0, length: 100, marks: [1], seconds: [] };
    const notices = createLineNotices({
      workers: { look() {} },
      line: { look: async (entries) => ({ view, places: entries.map(() => 1) }) },
      pace: { readPace: async () => 0.01 },
      waitingSince: waiting.waitingSince,
      askersOf: waiting.askersOf,
      send: (_session, _request, form) => void told.push(`${form} at ${second}`),
      log: createLog('silent'),
      now: () => second * 1000,
      random: createRandom(),
    });
    const asks: Readonly<Record<number, string>> = { 1: 'first', 5: 'second', 7: 'second', 30: 'third' };
    for (; second < 35; second++) {
      await notices.lookOnce();
      const form = asks[second];
      if (form === undefined) continue;
      const request = { requestId: `request ${second}`, token: tokenOf('SN'), requestKey: 'key', wantKey: 'key', form };
      waiting.add(session, request);
      waiting.unite(session, request, { requestId: 'request 1', requestKey: 'key' });
    }
    expect(told).toEqual(['first at 2', 'second at 6', 'third at 31']);
  });

  it('and those who leave come back one after the other', async () => {
    const devices = await simulate({ arrivals: storm(100), answersIn: () => undefined, allowed: () => 0.01, until: 6 });
    const back = devices.map(({ notices }) => notices[0]?.retryAfterSeconds ?? 0);
    expect(new Set(back).size).toBeGreaterThan(50);
    expect(Math.max(...back)).toBeLessThan(4600);
  });

  it('nothing, where the answer comes soon', async () => {
    const arrivals = Array.from({ length: 100 }, (_, index) => index / 5);
    const devices = await simulate({ arrivals, answersIn: () => 10, allowed: () => 9.8, until: 30 });
    expect(told(devices)).toEqual([]);
  });

  it('nothing, and they are not shown to the line, where they stand in none: a device that is registered by a template', async () => {
    const waiting = createWaitingRequests(() => 0);
    const session = newSession();
    for (const more of [{}, { hasNoPlace: true as const }]) {
      const requestId = 'hasNoPlace' in more ? 'registration' : 'request';
      waiting.add(session, {
        requestId,
        token: tokenOf('SN'),
        requestKey: requestId,
        wantKey: requestId,
        form: undefined,
        ...more,
      });
    }
    const shown: string[] = [];
    const notices = createLineNotices({
      workers: { look() {} },
      line: {
        look: async (entries) => {
          shown.push(...entries.map(({ requestId }) => requestId));
          return { view: { second: 0, length: 0, marks: [], seconds: [] }, places: entries.map(() => undefined) };
        },
      },
      pace: { readPace: async () => undefined },
      waitingSince: () => ['request', 'registration'],
      askersOf: waiting.askersOf,
      ...{ send() {}, log: createLog('silent'), now: () => 5000, random: () => 0 },
    });
    await notices.lookOnce();
    expect(shown).toEqual(['request']);
  });
});

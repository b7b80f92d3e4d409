import { describe, expect, it } from 'vitest';
import { type ArrivalCurve, arrivalTimes } from '../../gateway-sim/arrivals.ts';
import { randomOf } from '../../gateway-sim/random.ts';
import { createWheel } from '../../gateway-sim/wheel.ts';

const times = (arrival: ArrivalCurve, devices = 1000, seed = 1) => arrivalTimes(arrival, devices, randomOf(seed));

describe('arrival curves of simulated devices', () => {
  it.each<ArrivalCurve>([
    { curve: 'at-once' },
    { curve: 'even', seconds: 10 },
    { curve: 'surge', seconds: 10 },
    { curve: 'random', perSecond: 100 },
    { curve: 'waves', waves: 4, everySeconds: 2 },
  ])('give every device a time, in order, and the same times for the same seed: $curve', (arrival) => {
    const all = times(arrival);
    expect(all).toHaveLength(1000);
    expect(all).toEqual([...all].sort((a, b) => a - b));
    expect(all).toEqual(times(arrival));
  });

  it('spread devices evenly', () => {
    expect(times({ curve: 'even', seconds: 10 }, 5)).toEqual([0, 2000, 4000, 6000, 8000]);
  });

  it('put most devices of a power cut into the first fifth, and all within the time that is given', () => {
    const all = times({ curve: 'surge', seconds: 10 });
    const early = all.filter((at) => at < 2000).length;
    expect(early).toBeGreaterThan(580);
    expect(early).toBeLessThan(700);
    expect(all.at(-1)).toBeLessThanOrEqual(10_000);
  });

  it('bring random devices at the rate that is given', () => {
    const last = times({ curve: 'random', perSecond: 100 }).at(-1) as number;
    expect(last).toBeGreaterThan(8000);
    expect(last).toBeLessThan(12_000);
  });

  it('divide devices over waves', () => {
    expect(times({ curve: 'waves', waves: 2, everySeconds: 3 }, 4)).toEqual([0, 0, 3000, 3000]);
  });
});

describe('the wheel on which simulated devices wait', () => {
  const waiting = (called: string[], name: string) => ({
    slot: undefined as number | undefined,
    due: (now: number) => called.push(`${name} at ${now}`),
  });

  it('calls each once its time has come, in order, and not before', () => {
    const called: string[] = [];
    const wheel = createWheel<ReturnType<typeof waiting>>(10, 0);
    wheel.set(waiting(called, 'second'), 31);
    wheel.set(waiting(called, 'first'), 20);
    wheel.turn(19);
    expect(called).toEqual([]);
    wheel.turn(29);
    wheel.turn(60);
    expect(called).toEqual(['first at 29', 'second at 60']);
  });

  it('calls one that waits for something else by now only for that, and one that was cancelled not at all', () => {
    const called: string[] = [];
    const wheel = createWheel<ReturnType<typeof waiting>>(10, 0);
    const [moved, cancelled] = [waiting(called, 'moved'), waiting(called, 'cancelled')];
    wheel.set(moved, 10);
    wheel.set(moved, 50);
    wheel.set(cancelled, 10);
    wheel.cancel(cancelled);
    wheel.turn(40);
    expect(called).toEqual([]);
    wheel.turn(50);
    expect(called).toEqual(['moved at 50']);
  });

  it('calls at its next turn what waits for a time that has passed', () => {
    const called: string[] = [];
    const wheel = createWheel<ReturnType<typeof waiting>>(10, 100);
    wheel.set(waiting(called, 'late'), 50);
    wheel.turn(110);
    expect(called).toEqual(['late at 110']);
  });
});

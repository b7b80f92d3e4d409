import type { LineView } from '../queue/line.ts';

/** A request's place in the line, from 1, and how long it will still wait. `etaSeconds` is undefined where the line does not move. */
export type Estimate = { readonly position: number; readonly etaSeconds: number | undefined };

/** How far the estimate looks back, and after which time it counts only the answers that were really given. Seconds. */
const [lookBackSeconds, trustedSeconds] = [20, 10];

/** The second time where fewer were answered than AWS allows: then this machine is the limit, and not the rate of AWS. */
const trustedSecondsBelow = 3;

/** After this time without an answer, or without a report of a worker, there is no estimate. Seconds. */
const [stalledSeconds, absentSeconds] = [10, 5];

/** A request that is older is refused. Seconds. */
const maxEtaSeconds = 86_400;

/**
 * The speed of the line, in requests a second. At the start of a storm it is the rate that AWS allows; soon it is the rate of the answers really
 * given while devices waited, and sooner where that rate is lower.
 * @param allowed what the workers let through to AWS, as far as they say it
 * @returns undefined where the line stands still
 */
export function paceOf({ second, length, seconds }: LineView, allowed: number | undefined): number | undefined {
  const latest = seconds[0];
  if (latest !== undefined && length > 0 && latest.waiting > 0 && second - latest.second > absentSeconds)
    return undefined;
  const busy = busySeconds(second, seconds);
  if (isStalled(busy)) return undefined;
  const [newest, oldest] = [busy[0], sinceStall(busy).at(-1)];
  if (newest === undefined || oldest === undefined) return allowed;
  // the seconds that no worker has written count, too
  const took = newest.second - oldest.second + 1;
  const measured = busy.reduce((sum, each) => sum + (each.second >= oldest.second ? each.answered : 0), 0) / took;
  const pace = allowed === undefined ? measured : blend(measured, allowed, took);
  return pace > 0 ? pace : undefined;
}

function blend(measured: number, allowed: number, took: number): number {
  // the first second has not been a whole one
  const trusted = measured < allowed ? 1 + trustedSecondsBelow : trustedSeconds;
  const trust = Math.min(1, took / trusted);
  return measured * trust + allowed * (1 - trust);
}

function isStalled(busy: LineView['seconds']): boolean {
  const [newest, oldest] = [busy[0], busy.at(-1)];
  if (newest === undefined || oldest === undefined || newest.second - oldest.second + 1 < stalledSeconds) return false;
  return busy.every(({ second, answered }) => answered === 0 || second <= newest.second - stalledSeconds);
}

/** From the first answer after AWS was away, or after the beginning: what went before it tells no pace. */
function sinceStall(busy: LineView['seconds']): LineView['seconds'] {
  let since = 0;
  for (const [index, { second, answered }] of busy.entries()) {
    const later = busy[since]?.second ?? second;
    if (answered === 0) continue;
    if (later - second > stalledSeconds) break;
    since = index;
  }
  return busy.slice(0, since + 1);
}

/** The latest seconds in which devices waited all the time: what was answered while none waited tells no pace. */
function busySeconds(now: number, seconds: LineView['seconds']): LineView['seconds'] {
  // the present second has not ended
  const ended = seconds.filter(({ second }) => second < now && second >= now - lookBackSeconds);
  const gap = ended.findIndex(({ second, waiting }, index) => {
    const later = ended[index - 1]?.second ?? now;
    return waiting === 0 || second >= later || later - second > absentSeconds;
  });
  return gap === -1 ? ended : ended.slice(0, gap);
}

/** The rank of a place among the marks of a view, from 1: exact where it is a mark, otherwise by its distance to the next ones. */
export function positionOf(place: number, { marks, length }: LineView): number {
  const [first, last] = [marks[0], marks.at(-1)];
  if (first === undefined || last === undefined || place <= first) return 1;
  if (place >= last) return Math.max(1, length);
  let [low, high] = [0, marks.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if ((marks[middle] ?? 0) <= place) low = middle;
    else high = middle;
  }
  const [before = 0, after = 0] = [marks[low], marks[high]];
  const between = after > before ? (place - before) / (after - before) : 0;
  return Math.round(1 + ((low + between) * (length - 1)) / (marks.length - 1));
}

export function estimate(place: number, view: LineView, pace: number | undefined): Estimate {
  const position = positionOf(place, view);
  return { position, etaSeconds: pace === undefined ? undefined : Math.min(maxEtaSeconds, position / pace) };
}

/** What a device was told, and when, in milliseconds of the monotonic clock. */
export type Told = Estimate & {
  readonly at: number;
  readonly times: number;
  /** the first time */
  readonly first: { readonly at: number; readonly etaSeconds: number | undefined };
};

/** A device that waits for less than the first gets no `pending`. While there is no estimate it gets one after the second: an estimate often comes soon. Milliseconds. */
const [shortWaitMs, unknownWaitMs] = [2000, 4000];

/** How often one device is told about one request at most, and how long after the last time at least. */
const [mostTimes, leastBetweenMs] = [20, 5000];

/** A change of the estimate that is no news, in seconds. */
const smallChangeSeconds = 5;

/** Whether a device is told, at first or again: the estimate differs by a third from what it goes by or is overdue, or its position has halved. */
export function isNews(next: Estimate, told: Told | undefined, now: number, waitedMs: number): boolean {
  if (told === undefined)
    return next.etaSeconds === undefined
      ? waitedMs >= unknownWaitMs
      : Math.max(waitedMs, next.etaSeconds * 1000) >= shortWaitMs;
  const elapsedMs = now - told.at;
  if (told.times >= mostTimes || elapsedMs < leastBetweenMs) return false;
  if (next.etaSeconds === undefined || told.etaSeconds === undefined) return next.etaSeconds !== told.etaSeconds;
  const expected = told.etaSeconds - elapsedMs / 1000;
  if (Math.abs(next.etaSeconds - expected) > Math.max(smallChangeSeconds, told.etaSeconds / 3)) return true;
  return next.position <= told.position / 2 && next.etaSeconds > smallChangeSeconds;
}

/** Without an estimate a device asks again after one to two minutes; with one, after an hour at most. Seconds. */
const [unknownRetrySeconds, mostRetrySeconds] = [60, 3600];

/**
 * After how many seconds a device that leaves comes back: when its answer should be there. Those who leave together come back one
 * after the other. @param random from 0 to 1
 */
export function retryAfterOf(etaSeconds: number | undefined, random: number): number {
  if (etaSeconds === undefined) return Math.ceil(unknownRetrySeconds * (1 + random));
  return Math.ceil(Math.min(mostRetrySeconds, etaSeconds) * (1 + random / 4) + 1 + 4 * random);
}

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { PendingAnswer } from '../protocol/answer.ts';
import type { ReplyForm } from '../protocol/dialect.ts';
import type { Line, LineEntry, LineView } from '../queue/line.ts';
import type { Pace } from '../queue/pace.ts';
import type { Log } from '../runtime/log.ts';
import type { AbsentWorkers } from './absent-workers.ts';
import { type Estimate, estimate, isNews, paceOf, retryAfterOf } from './line-estimate.ts';
import type { Session } from './session.ts';
import { firstAskedAt, type WaitingRequest } from './waiting-requests.ts';

/** How often the line is looked at while a request waits, and how long one waits before it is entered. Milliseconds. */
const [lookMs, soonMs] = [1000, 500];

/** Requests that are shown to the line in one look. */
const shownAtATime = 500;

/** Notices that are written before other work has a turn. */
const writtenAtATime = 50;

/**
 * Tells the devices that wait how long it will take. One look at the line serves all of them. A request that is answered within half a
 * second is never shown to the line.
 */
export function createLineNotices(options: {
  line: Pick<Line, 'look'>;
  pace: Pick<Pace, 'readPace'>;
  /** the requests that have waited for at least so long, with the connections that asked */
  waitingSince(ms: number): readonly string[];
  askersOf(requestId: string): readonly (readonly [Session, WaitingRequest])[];
  /** it is one of those that the request was asked in */
  send(session: Session, request: WaitingRequest, form: ReplyForm, notice: PendingAnswer): void;
  workers: Pick<AbsentWorkers, 'look'>;
  log: Log;
  /** milliseconds of the monotonic clock */
  now(): number;
  random(): number;
}) {
  const { line, pace, waitingSince, askersOf, send, workers, log, now, random } = options;
  /** what the line said last, by requestId; the one that was shown to it longest ago comes first */
  const places = new Map<string, number | undefined>();
  let timer: NodeJS.Timeout | undefined;
  let looking = false;

  function entryOf(requestId: string): LineEntry | undefined {
    const asking = askersOf(requestId).map(([, request]) => request);
    const [first] = asking;
    if (first === undefined || first.hasNoPlace) return undefined;
    const waitedMs = Math.round(now() - Math.min(...asking.map(firstAskedAt)));
    return { requestId, recipientId: first.token.recipientId, waitedMs };
  }

  /** New ones, and those that were shown longest ago: Redis may have lost them, or another broker answered. */
  function entriesToShow(waiting: readonly string[]): LineEntry[] {
    const entered = waiting.filter((requestId) => !places.has(requestId));
    const room = Math.max(0, shownAtATime - (entered.length % shownAtATime));
    const again: string[] = [];
    for (const requestId of places.keys()) {
      if (again.length === room) break;
      again.push(requestId);
    }
    return [...entered, ...again].flatMap((requestId) => {
      const entry = entryOf(requestId);
      if (entry === undefined) places.delete(requestId);
      return entry ?? [];
    });
  }

  async function show(entries: readonly LineEntry[]): Promise<LineView> {
    for (let start = 0; ; start += shownAtATime) {
      const shown = entries.slice(start, start + shownAtATime);
      const looked = await line.look(shown);
      for (const [index, { requestId }] of shown.entries()) {
        places.delete(requestId);
        places.set(requestId, looked.places[index]);
      }
      if (start + shownAtATime >= entries.length) return looked.view;
    }
  }

  async function look(): Promise<void> {
    const waiting = waitingSince(soonMs);
    if (waiting.length === 0) return places.clear();
    const entries = entriesToShow(waiting);
    const view = await show(entries);
    workers.look(
      view,
      entries.reduce((longest, { waitedMs }) => Math.max(longest, waitedMs), 0),
    );
    const moves = paceOf(view, await pace.readPace());
    let written = 0;
    for (const requestId of waiting) {
      const place = places.get(requestId);
      if (place === undefined) continue;
      const next = estimate(place, view, moves);
      for (const [session, request] of askersOf(requestId)) {
        if (request.answered) continue;
        written += tell(session, request, next);
        if (written < writtenAtATime) continue;
        written = 0;
        await nextTurn();
      }
    }
  }

  /** Each id for itself: one that came later has heard nothing yet. @returns how many notices were written */
  function tell(session: Session, request: WaitingRequest, next: Estimate): number {
    const due = request.asked.filter(({ told, since }) => isNews(next, told, now(), now() - since));
    for (const each of due) {
      const first = each.told?.first ?? { at: now(), etaSeconds: next.etaSeconds };
      each.told = { ...next, at: now(), times: (each.told?.times ?? 0) + 1, first };
      send(session, request, each.form, noticeOf(next, now() - each.since));
    }
    return due.length;
  }

  function noticeOf({ position, etaSeconds }: Estimate, waitedMs: number): PendingAnswer {
    const eta = etaSeconds === undefined ? {} : { etaSeconds: Math.max(1, Math.round(etaSeconds)) };
    const waitedSeconds = Math.floor(waitedMs / 1000);
    return {
      status: 'pending',
      position,
      ...eta,
      waitedSeconds,
      retryAfterSeconds: retryAfterOf(etaSeconds, random()),
    };
  }

  async function lookOnce(): Promise<void> {
    // one at a time: Redis may be silent
    if (looking) return;
    looking = true;
    try {
      await look();
    } catch (err) {
      log.debug({ err }, 'could not look at the line; trying again');
    } finally {
      looking = false;
    }
  }

  return {
    start(): void {
      timer = setInterval(() => void lookOnce(), lookMs);
    },
    lookOnce,
    close: () => clearInterval(timer),
  };
}

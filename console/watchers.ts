import type { ServerResponse } from 'node:http';
import type { LiveEvent } from '../queue/live.ts';
import type { Log } from '../runtime/log.ts';
import type { Role } from './roles.ts';

/**
 * Milliseconds. `gatherMs`: what happens in it is told at once. `nowEveryMs`, `lineEveryMs`: how often these are told at most; a page takes 40 s
 * without a word for a lost connection. `slowMs`: a reader that takes nothing for so long is disconnected.
 */
const usualTimes = { gatherMs: 1000, nowEveryMs: 5000, lineEveryMs: 2000, checkMs: 20_000, slowMs: 20_000 };
export type WatcherTimes = typeof usualTimes;

/** Of all, and of one person: browsers have six connections to a server at most. Bytes that a reader may be behind; events in one message. */
export const watcherLimits = { all: 64, ofCaller: 8, behindBytes: 256 * 1024, events: 100 };
export type WatcherLimits = typeof watcherLimits;

type Watcher = {
  readonly response: ServerResponse;
  readonly caller: string;
  readonly role: Role;
  /** whether the session or token is still valid */
  readonly isWelcome: () => Promise<boolean>;
  behindSince: number | undefined;
  /** whether events went by it */
  hasMissed: boolean;
};

type Sources = {
  listen(onEvents: (events: readonly LiveEvent[], more: number) => void, onMissed: () => void): Promise<void>;
  readNow(): Promise<object>;
  readLine(): Promise<object>;
};

/**
 * Sends what happens to all open pages by server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html). Redis is read once for
 * all pages, and not at all without an open page. A slow page misses events, and no other page waits for it. A page that missed some is told so
 * (`resync`), and reads anew what it shows.
 */
export function createWatchers(sources: Sources, log: Log, given: Partial<WatcherTimes & WatcherLimits> = {}) {
  const times = { ...usualTimes, ...given };
  const limits = { ...watcherLimits, ...given };
  const watchers = new Set<Watcher>();
  let [events, more]: [LiveEvent[], number] = [[], 0];
  let [nowAt, lineAt, checkedAt] = [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY, performance.now()];
  let lastLine = '';
  let busy = false;
  let timer: NodeJS.Timeout | undefined;

  const listening = sources.listen(
    (told, others) => {
      if (watchers.size === 0) return;
      const room = limits.events - events.length;
      for (const event of told.slice(0, Math.max(0, room))) events.push(event);
      more += others + Math.max(0, told.length - room);
    },
    () => {
      for (const watcher of watchers) watcher.hasMissed = true;
    },
  );
  listening.catch((err: unknown) => log.debug({ err }, 'the console cannot hear what happens'));

  function remove(watcher: Watcher): void {
    if (!watchers.delete(watcher)) return;
    watcher.response.destroy();
    if (watchers.size > 0) return;
    clearInterval(timer);
    timer = undefined;
    [events, more] = [[], 0];
  }

  const countOf = (wanted: string) => [...watchers].filter(({ caller }) => caller === wanted).length;

  /** All viewers may be one person with many sessions, so a stream of a viewer is closed for an operator. Among equals, the caller with the most streams loses one. */
  function whoGivesWay({ role, caller }: Pick<Watcher, 'role' | 'caller'>): Watcher | undefined {
    const all = [...watchers];
    const viewer = all.find((each) => each.role === 'viewer');
    if (role === 'operator' && viewer !== undefined) return viewer;
    const few = countOf(caller) + 1;
    return all.find((each) => each.role === role && countOf(each.caller) > few);
  }

  function tell(text: string, to: Iterable<Watcher> = watchers): void {
    for (const watcher of to) {
      const { response } = watcher;
      if (response.destroyed || response.writableEnded) {
        remove(watcher);
        continue;
      }
      if (response.writableLength <= limits.behindBytes) {
        watcher.behindSince = undefined;
        response.write(watcher.hasMissed ? messageOf('resync', null) + text : text);
        watcher.hasMissed = false;
        continue;
      }
      watcher.hasMissed = true;
      watcher.behindSince ??= performance.now();
      if (performance.now() - watcher.behindSince >= times.slowMs) remove(watcher);
    }
  }

  function tellEvents(): void {
    if (events.length === 0 && more === 0) return;
    const told = [events, more] as const;
    [events, more] = [[], 0];
    tell(messageOf('device', told[1] === 0 ? told[0] : [...told[0], { event: 'more', more: told[1] }]));
  }

  async function look(): Promise<void> {
    const time = performance.now();
    if (time - nowAt >= times.nowEveryMs) {
      nowAt = time;
      tell(messageOf('now', await sources.readNow()));
    }
    if (time - lineAt >= times.lineEveryMs) {
      lineAt = time;
      const line = messageOf('line', await sources.readLine());
      if (line !== lastLine) tell(line);
      lastLine = line;
    }
    if (time - checkedAt >= times.checkMs) {
      checkedAt = time;
      for (const watcher of [...watchers]) if (!(await watcher.isWelcome().catch(() => true))) remove(watcher);
    }
  }

  function plan(): void {
    timer ??= setInterval(() => {
      // how the gateway is may take seconds to read: what has happened does not wait for it
      tellEvents();
      if (busy) return;
      busy = true;
      look()
        // while Redis is away the pages hear that we are still here
        .catch(() => tell(': nothing is known at this moment\n\n'))
        .finally(() => {
          busy = false;
        });
    }, times.gatherMs);
  }

  return {
    size: () => watchers.size,
    /** @returns false where there are too many, of all or of this caller */
    add(watcher: Omit<Watcher, 'behindSince' | 'hasMissed'>): boolean {
      if (countOf(watcher.caller) >= limits.ofCaller) return false;
      if (watchers.size >= limits.all) {
        const gone = whoGivesWay(watcher);
        if (gone === undefined) return false;
        remove(gone);
      }
      const added = { ...watcher, behindSince: undefined, hasMissed: false };
      watchers.add(added);
      watcher.response.on('close', () => remove(added));
      // the new one has the next look's news, and all others as well
      [nowAt, lineAt, lastLine] = [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY, ''];
      plan();
      return true;
    },
    async close() {
      for (const watcher of [...watchers]) remove(watcher);
      clearInterval(timer);
    },
  };
}

export type Watchers = ReturnType<typeof createWatchers>;

/** JSON has no line end, so it is one line of data. */
const messageOf = (event: string, data: unknown) => `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;

import type { Log } from '../runtime/log.ts';
import type { LineKeeper, LineLeaver, LineState } from './line.ts';

/** How often a worker reports, in milliseconds: one command a second, however many requests it answers. */
const everyMs = 1000;

/** Tells the line what this worker has done, until closed. */
export function reportToLine(options: {
  line: LineKeeper;
  log: Log;
  /** called with what each report found */
  onState(state: LineState): void;
}) {
  const { line, log, onState } = options;
  let [answered, lostPlace]: [LineLeaver[], string[]] = [[], []];
  let running: Promise<void> | undefined;

  async function report(): Promise<void> {
    const [done, again] = [answered, lostPlace];
    [answered, lostPlace] = [[], []];
    try {
      onState(await line.report(done, again));
    } catch (err) {
      // what is not taken out is found by the checks of later reports
      log.debug({ err }, 'the line could not be told what was done');
    }
  }

  const reportOnce = () => {
    running ??= report().finally(() => {
      running = undefined;
    });
    return running;
  };
  const timer = setInterval(() => void reportOnce(), everyMs);
  return {
    /** The queue has deleted it. */
    answered: (leaver: LineLeaver) => void answered.push(leaver),
    lostPlace: (requestId: string) => void lostPlace.push(requestId),
    async close(): Promise<void> {
      clearInterval(timer);
      await running;
      if (answered.length > 0) await reportOnce();
      await line.close();
    },
  };
}

import type { Line } from '../../queue/line.ts';
import type { Pace } from '../../queue/pace.ts';

/** A line in which nobody waits, and no pace: no device is told how long it will wait. For tests of something else. */
export const noLine: { readonly line: Pick<Line, 'look'>; readonly pace: Pick<Pace, 'readPace'> } = {
  line: {
    look: async (entries) => ({
      view: { second: 0, length: 0, marks: [], seconds: [] },
      places: entries.map(() => undefined),
    }),
  },
  pace: { readPace: async () => undefined },
};

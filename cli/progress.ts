import { cutWidth } from './text-width.ts';

/** To the width of the terminal: a longer line wraps, and each rewriting would leave a line behind. 0: the width is not known. */
export const cut = (text: string, columns = 0): string => (columns > 1 ? cutWidth(text, columns - 1) : text);

/**
 * Shows on standard error how far a long run is, until `end` is called: rewrites one line of a terminal, and elsewhere
 * prints a line every ten seconds. The first line comes after one interval: a short run prints none.
 */
export function startProgress(describe: (rate: (count: number) => number) => string) {
  const start = performance.now();
  const perSecond = (count: number) => count / Math.max(0.001, (performance.now() - start) / 1000);
  const terminal = process.stderr.isTTY;
  const print = () => {
    const text = describe(perSecond);
    process.stderr.write(terminal ? `\r${cut(text, process.stderr.columns)}\x1b[K` : `${text}\n`);
  };
  const timer = setInterval(print, terminal ? 250 : 10_000);
  return {
    end(): void {
      clearInterval(timer);
      if (!terminal) return;
      print();
      process.stderr.write('\n');
    },
  };
}

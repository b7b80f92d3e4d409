import { expect, it } from 'vitest';
import { cut } from '../../cli/progress.ts';

it('keeps the line of progress to one line of the terminal, which would leave a line behind at each rewriting', () => {
  expect(cut('x'.repeat(130), 80)).toHaveLength(79);
  expect(cut('short', 80)).toBe('short');
  expect(cut('the width is not known', undefined)).toBe('the width is not known');
  expect(cut('a serial line says 0 columns', 0)).toBe('a serial line says 0 columns');
});

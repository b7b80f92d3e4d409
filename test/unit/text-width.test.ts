import { describe, expect, it } from 'vitest';
import { cut } from '../../cli/progress.ts';
import { plainRow, tableLines } from '../../cli/table.ts';
import { cutWidth, padWidth, textWidth } from '../../cli/text-width.ts';
import { wrap } from '../../cli/verdict.ts';

describe('the width of a text at a terminal', () => {
  it.each([
    ['pump-7', 6],
    ['日本語', 6],
    ['한국', 4],
    ['Müller', 6],
    ['Mu\u0308ller', 6],
    ['👍', 2],
    ['', 0],
  ])('of %j is %i', (text, width) => {
    expect(textWidth(text)).toBe(width);
  });

  it('is what a column is filled up to, in a table and in the lines for a program', () => {
    const rows = [
      ['日本語', 'x'],
      ['Mu\u0308ller', 'x'],
      ['pump-7', 'x'],
    ];
    const lines = tableLines([{ title: 'NAME' }, { title: 'STATE' }], rows, { columns: 80, colours: false });
    const before = lines.slice(1).map((line) => textWidth(line.slice(0, line.indexOf('x'))));
    expect(new Set(before)).toEqual(new Set([8]));
    expect(new Set(rows.map((row) => textWidth(plainRow(row, [10]))))).toEqual(new Set([13]));
    expect(padWidth('日本語', 3)).toBe('日本語');
  });

  it('is what a cell is cut to, never in the middle of a character', () => {
    const [, line = ''] = tableLines(
      [{ title: 'NAME', cut: true }, { title: 'STATE' }],
      [['日本語日本語日本語', 'x']],
      {
        columns: 18,
        colours: false,
      },
    );
    expect(textWidth(line)).toBeLessThanOrEqual(18);
    expect(line).toMatch(/^日本語日本… +x$/);
    expect(cutWidth('ae\u0301b', 2)).toBe('ae\u0301');
    expect(cutWidth('a👍b', 2)).toBe('a');
    expect(cut('日本語', 5)).toBe('日本');
  });

  it('is what a sentence is wrapped at', () => {
    const lines = wrap(`${'日本語 '.repeat(20)}`, 40, '      ');
    for (const line of lines) expect(textWidth(line)).toBeLessThanOrEqual(40);
    expect(lines.length).toBeGreaterThan(2);
  });
});

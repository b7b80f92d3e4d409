import { describe, expect, it } from 'vitest';
import { tableLines, terminalOf } from '../../cli/table.ts';

const columns = [
  { title: 'SERIAL', cut: true },
  { title: 'STATE', colour: () => 'green' as const },
  { title: 'COUNT', right: true },
];
const wide = { columns: 80, colours: false };

describe('a table for a person', () => {
  it('has a header, and columns as wide as their longest cell', () => {
    expect(
      tableLines(
        columns,
        [
          ['A', 'enrolled', '7'],
          ['LONGER-ONE', 'blocked', '12345678'],
        ],
        wide,
      ),
    ).toEqual(['SERIAL      STATE        COUNT', 'A           enrolled         7', 'LONGER-ONE  blocked   12345678']);
  });

  it('leaves out a column that no row has a value for', () => {
    expect(tableLines(columns, [['A', '', '7']], wide)[0]).toBe('SERIAL  COUNT');
  });

  it('has no line that is longer than the terminal is wide', () => {
    const lines = tableLines(columns, [['S'.repeat(100), 'enrolled', '7']], { columns: 40, colours: false });
    expect(lines.map((line) => line.length)).toEqual([40, 40]);
    expect(lines[1]).toMatch(/^S+… {2}enrolled {6}7$/);
  });

  it('colours only where the terminal takes colours', () => {
    const colourful = tableLines(columns, [['A', 'enrolled', '7']], { columns: 80, colours: true });
    expect(colourful[1]).toContain('\u001b[32menrolled\u001b[39m');
    expect(tableLines(columns, [['A', 'enrolled', '7']], wide).join()).not.toContain('\u001b');
  });

  it('passes no control character of a cell on to the terminal', () => {
    expect(tableLines(columns, [['A\u001b[2J\nB', 'x', '1']], wide)[1]).toMatch(/^A \[2J B /);
  });

  it('is for terminals: a file or a pipe is none', () => {
    expect(terminalOf({})).toBeUndefined();
    expect(terminalOf({ isTTY: true, columns: 120, hasColors: () => true })).toEqual({ columns: 120, colours: true });
  });
});

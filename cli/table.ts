import { styleText } from 'node:util';
import { cutWidth, padWidth, textWidth } from './text-width.ts';

/** The terminal that a person reads at. Undefined where the output goes into a file or a pipe, to a program. */
export type Terminal = { readonly columns: number; readonly colours: boolean };

type Stream = { isTTY?: boolean; columns?: number; hasColors?(count: number): boolean };

/** Node.js knows when a terminal takes colours, and that NO_COLOR and FORCE_COLOR have the last word (no-color.org). */
export function terminalOf(stream: Stream): Terminal | undefined {
  if (!stream.isTTY) return undefined;
  return { columns: stream.columns ?? 80, colours: stream.hasColors?.(16) ?? false };
}

export type Colour = 'red' | 'green' | 'yellow' | 'cyan' | 'bold';

export function coloured(text: string, colour: Colour | undefined, colours: boolean): string {
  // the caller has asked the terminal; Node.js would ask standard output of its own accord, in some releases only
  return colours && colour !== undefined && text !== '' ? styleText(colour, text, { validateStream: false }) : text;
}

export type Column = {
  readonly title: string;
  readonly right?: boolean;
  /** may be cut when the terminal is too narrow for all; the column with the longest cells is cut first */
  readonly cut?: boolean;
  colour?(cell: string): Colour | undefined;
};

const gap = '  ';

/** Rows in columns, as a program reads them: complete, without a header and without colours. */
export const plainRow = (cells: readonly string[], widths: readonly number[]): string =>
  cells
    .map((cell, index) => padWidth(oneLine(cell), widths[index] ?? 0))
    .join(gap)
    .trimEnd();

/** The lines of a table for a person: a header, columns as wide as they need and no line longer than the terminal's, where that can be. */
export function tableLines(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  { columns: most, colours }: Terminal,
): string[] {
  // a column that is empty in all rows says nothing
  const used = columns.map((_, index) => rows.some((row) => (row[index] ?? '') !== ''));
  const shown = columns.filter((_, index) => used[index]);
  const cells = rows.map((row) => columns.flatMap((_, index) => (used[index] ? [oneLine(row[index] ?? '')] : [])));
  const widths = fit(
    shown,
    shown.map(({ title }, index) => longest(title, cells, index)),
    most,
  );
  const line = (texts: readonly string[], colourOf: (column: Column, text: string) => Colour | undefined) =>
    shown
      .map((column, index) => {
        const text = texts[index] ?? '';
        const width = widths[index] ?? 0;
        const part = textWidth(text) > width ? `${cutWidth(text, width - 1)}…` : text;
        const space = index === shown.length - 1 && !column.right ? '' : ' '.repeat(width - textWidth(part));
        const painted = coloured(part, colourOf(column, text), colours);
        return column.right ? space + painted : painted + space;
      })
      .join(gap)
      .trimEnd();
  return [
    line(
      shown.map(({ title }) => title),
      () => 'bold',
    ),
    ...cells.map((texts) => line(texts, (column, text) => column.colour?.(text))),
  ];
}

/** Not by spreading into `Math.max`: a call takes some hundred thousand arguments at most. */
const longest = (title: string, rows: readonly (readonly string[])[], index: number): number =>
  rows.reduce((most, row) => Math.max(most, textWidth(row[index] ?? '')), title.length);

/**
 * A line break, or another control character, in a cell would break the table, or the terminal; one that turns the direction of writing makes a person
 * read another text than there is (Unicode TR 36, 2.7).
 */
export const oneLine = (text: string): string => text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]+/gu, ' ');

function fit(columns: readonly Column[], wanted: readonly number[], most: number): number[] {
  const widths = [...wanted];
  const total = () => widths.reduce((sum, width) => sum + width, 0) + gap.length * (widths.length - 1);
  for (let excess = total() - most; excess > 0; excess = total() - most) {
    const widest = columns.reduce(
      (best, column, index) =>
        canShrink(column, widths[index]) && (widths[index] ?? 0) > (widths[best] ?? 0) ? index : best,
      -1,
    );
    if (widest === -1) break;
    widths[widest] = (widths[widest] ?? 0) - 1;
  }
  return widths;
}

const canShrink = ({ title, cut }: Column, width = 0): boolean => cut === true && width > Math.max(title.length, 8);
